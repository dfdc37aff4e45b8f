console.log('before');
require('child_process').spawnSync('/bin/sh', ['-c', 'echo child; echo err >&2; env | grep -c NODE_OPTIONS'], { stdio: 'inherit' });
console.log('after');
