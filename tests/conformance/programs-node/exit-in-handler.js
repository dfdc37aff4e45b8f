process.on('exit', (c) => { console.log('first', c); process.exitCode = 9; });
process.on('exit', (c) => { console.log('second', c); process.exit(12); });
process.on('exit', () => console.log('third'));
