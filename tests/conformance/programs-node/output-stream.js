const { Readable } = require('stream');
Readable.from(['a\n', 'b\n', 'c\n']).pipe(process.stdout);
console.log(process.stdout.isTTY, process.stderr.isTTY, process.stdin.isTTY, process.stdout.writableHighWaterMark, process.stdout.constructor.name, process.stdout.fd, process.stdout._type);
