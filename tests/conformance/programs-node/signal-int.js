process.on('SIGINT', () => { console.log('int'); process.exitCode = 2; clearTimeout(t); });
const t = setTimeout(() => {}, 5000);
process.kill(process.pid, 'SIGINT');
