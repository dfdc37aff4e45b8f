const fs = require('fs');
fs.writeFileSync('/tmp/t', 'x'); fs.symlinkSync('/tmp/t', '/tmp/l'); fs.linkSync('/tmp/t', '/tmp/h');
console.log(fs.readlinkSync('/tmp/l'), fs.realpathSync('/tmp/l'), fs.lstatSync('/tmp/l').isSymbolicLink(), fs.statSync('/tmp/h').nlink);
fs.chmodSync('/tmp/t', 0o600); console.log((fs.statSync('/tmp/t').mode & 0o777).toString(8)); fs.utimesSync('/tmp/t', 1, 2); console.log(fs.statSync('/tmp/t').mtimeMs);
for (const f of ['t', 'l', 'h']) fs.unlinkSync('/tmp/' + f);
