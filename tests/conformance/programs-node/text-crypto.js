const c = require('crypto');
console.log(c.createHash('sha3-256').update('x').digest('hex'), c.createHmac('sha256', 'k').update('d').digest('base64'), c.pbkdf2Sync('p', 's', 1000, 16, 'sha512').toString('hex'), c.scryptSync('p', 's', 16).toString('hex'), c.randomBytes(8).length, c.randomUUID().length);
const { publicKey, privateKey } = c.generateKeyPairSync('ec', { namedCurve: 'P-256' }); console.log(c.verify('sha256', Buffer.from('d'), publicKey, c.sign('sha256', Buffer.from('d'), privateKey)));
c.subtle.digest('SHA-256', new Uint8Array(3)).then((d) => console.log(Buffer.from(d).toString('hex')));
