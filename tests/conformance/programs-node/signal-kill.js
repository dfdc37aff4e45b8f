console.log('bye');
process.kill(process.pid, 'SIGKILL');
