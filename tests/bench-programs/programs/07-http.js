const http = require('http');
const server = http.createServer((q, r) => r.end(JSON.stringify({ path: q.url })));
server.listen(0, '127.0.0.1', () => {
  http.get({ host: '127.0.0.1', port: server.address().port, path: '/a?b=c' }, (r) => {
    let text = '';
    r.on('data', (d) => { text += d; });
    r.on('end', () => { console.log(text); server.close(); });
  });
});
