const { parseArgs } = require('util');
console.log(parseArgs({ args: ['-v', '--name', 'x'], options: { v: { type: 'boolean', short: 'v' }, name: { type: 'string' } } }));
console.log(parseArgs({ allowPositionals: true, strict: false }));
