const cp = require('child_process');
if (process.argv[2] === 'child') { process.on('message', (m) => { process.send({ twice: m.n * 2, argv: process.argv.slice(2) }); process.disconnect(); }); }
else { const c = cp.fork(__filename, ['child']); c.on('message', (m) => console.log(m)).on('exit', (code, s) => console.log('exit', code, s)); c.send({ n: 21 }); }
