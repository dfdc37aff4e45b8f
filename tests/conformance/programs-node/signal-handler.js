process.on('SIGUSR2', (s, n) => { console.log(s, n); process.exit(3); });
process.kill(process.pid, 'SIGUSR2');
setTimeout(() => {}, 5000);
