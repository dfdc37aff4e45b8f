const { execSync, exec } = require('child_process');
console.log(execSync('echo $((1+2)); id -u').toString());
exec('exit 4', (e) => console.log(e.code, e.killed, e.cmd));
try { execSync('echo out; echo err >&2; exit 5', { stdio: 'pipe' }); } catch (e) { console.log(e.status, e.stdout.toString(), e.stderr.toString()); }
