const fs = require('fs'), path = require('path'), os = require('os');
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'x'));
for (let i = 0; i < 20; i++) fs.writeFileSync(path.join(dir, `f${i}.txt`), 'x'.repeat(i));
console.log(fs.readdirSync(dir).length, fs.readdirSync(dir).map((f) => fs.statSync(path.join(dir, f)).size).reduce((a, b) => a + b));
fs.rmSync(dir, { recursive: true });
