process.stdout.write('a'.repeat(50000));
console.log('end');
process.exit(1);
