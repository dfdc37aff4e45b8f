const fs = require('fs');
fs.writeFileSync('/output/a.txt', 'text'); fs.appendFileSync('/output/a.txt', ' more'); fs.mkdirSync('/output/d/e', { recursive: true }); fs.writeFileSync('/output/d/e/f', Buffer.alloc(10));
console.log(fs.readFileSync('/output/a.txt', 'utf8'), fs.readdirSync('/output'), fs.statSync('/output/d/e/f').size);
fs.renameSync('/output/a.txt', '/output/b.txt'); fs.rmSync('/output/d', { recursive: true }); console.log(fs.readdirSync('/output'));
