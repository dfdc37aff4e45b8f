const fs = require('fs');
console.log(fs.readdirSync('/proc/self/fd').filter((f) => { try { return fs.readlinkSync('/proc/self/fd/' + f).startsWith('socket'); } catch { return false; } }));
const a = fs.openSync('/code/main.js'), b = fs.openSync('/code/main.js'); console.log(b > a); fs.closeSync(a); console.log(fs.openSync('/code/main.js') === a);
