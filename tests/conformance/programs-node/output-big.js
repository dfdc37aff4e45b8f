const line = 'x'.repeat(99) + '\n';
for (let i = 0; i < 400; i++) process.stdout.write(line);
console.error(line.length);
