const c = require('child_process').spawn('tr', ['a-z', 'A-Z']);
c.stdout.on('data', (d) => process.stdout.write(d)); c.on('close', (x) => console.log('close', x)); c.stdin.end('shout\n');
