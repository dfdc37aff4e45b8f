const fs = require('fs'), { pipeline } = require('stream'), zlib = require('zlib');
fs.writeFileSync('/tmp/in', 'hello '.repeat(50000));
pipeline(fs.createReadStream('/tmp/in'), zlib.createGzip(), zlib.createGunzip(), fs.createWriteStream('/tmp/out'), (e) => { console.log(e, fs.readFileSync('/tmp/in').equals(fs.readFileSync('/tmp/out'))); fs.unlinkSync('/tmp/in'); fs.unlinkSync('/tmp/out'); });
