process.on('exit', () => console.log('never'));
process.stdout.write('written\n');
process.reallyExit(6);
