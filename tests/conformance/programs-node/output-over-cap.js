process.stdout.write('z'.repeat(300000));
process.stderr.write('w'.repeat(300000));
process.on('exit', () => console.log('end'));
