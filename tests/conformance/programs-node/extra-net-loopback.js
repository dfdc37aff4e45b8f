const net = require('net');
const s = net.createServer((c) => c.end('hi')).listen('/tmp/sock', () => net.connect('/tmp/sock').on('data', (d) => console.log(d.toString())).on('close', () => s.close(() => console.log('closed'))));
