const fs = require('fs');
for (const f of ['/code/x', '/code/main.js', '/input/x', '/input/data.json']) try { fs.writeFileSync(f, 'x'); console.log('wrote', f); } catch (e) { console.log(e.code, e.message); }
