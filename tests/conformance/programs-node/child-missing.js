const c = require('child_process').spawn('/no/such/program');
c.on('error', (e) => console.log(e.code, e.message)).on('close', (x) => console.log('close', x));
