const crypto = require('crypto');
const data = Buffer.alloc(100000, 'x');
for (const name of ['md5', 'sha1', 'sha256']) console.log(name, crypto.createHash(name).update(data).digest('hex').slice(0, 16));
console.log(crypto.createHmac('sha256', 'key').update(data).digest('base64'));
