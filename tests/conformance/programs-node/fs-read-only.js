const fs = require('fs');
for (const f of ['/x', '/usr/x', '/etc/x', '/home/sandbox/x']) try { fs.writeFileSync(f, 'x'); console.log('wrote', f); } catch (e) { console.log(e.code, e.syscall, e.path, e.message); }
try { fs.mkdirSync('/made'); } catch (e) { console.log(e.message); }
try { fs.unlinkSync('/etc/passwd'); } catch (e) { console.log(e.message); }
