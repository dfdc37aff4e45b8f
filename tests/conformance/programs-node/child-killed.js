const c = require('child_process').spawn('sleep', ['100']);
c.on('exit', (code, s) => console.log(code, s, c.killed));
setTimeout(() => console.log(c.kill('SIGTERM')), 20);
