//: stdin "\u0000\u0001abc\r\n"
const c = require('crypto').createHash('sha256');
process.stdin.on('data', (d) => c.update(d)).on('end', () => console.log(c.digest('hex'), process.stdin.bytesRead));
