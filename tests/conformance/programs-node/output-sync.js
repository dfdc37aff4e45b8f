const fs = require('fs');
console.log('one'); fs.writeSync(1, 'two\n'); process.stdout.write('three\n'); fs.writeSync(2, 'err\n'); console.log('four');
