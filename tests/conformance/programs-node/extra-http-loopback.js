const http = require('http');
const s = http.createServer((q, r) => r.end(q.method + q.url)).listen('/tmp/http', () => http.get({ socketPath: '/tmp/http', path: '/x' }, (r) => { r.on('data', (d) => console.log(r.statusCode, d.toString())); r.on('end', () => s.close()); }));
