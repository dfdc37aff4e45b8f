const { spawnSync } = require('child_process');
const r = spawnSync(process.execPath, ['-e', 'console.log(process.argv.length, process.execArgv, process.env.NODE_OPTIONS, process._preload_modules); process.exit(3)']);
console.log(r.status, r.signal, r.stdout.toString(), r.stderr.toString());
