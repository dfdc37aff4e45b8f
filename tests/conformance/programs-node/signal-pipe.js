process.once('SIGHUP', () => console.log('hup'));
process.kill(process.pid, 'SIGHUP');
setTimeout(() => process.kill(process.pid, 'SIGHUP'), 20);
setTimeout(() => console.log('never'), 5000);
