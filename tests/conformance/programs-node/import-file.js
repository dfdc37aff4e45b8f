const fs = require('fs');
fs.writeFileSync('/tmp/m.mjs', 'import { readFileSync } from "fs"; export default import.meta.url; export const a = 1; console.log(typeof require, typeof readFileSync); await null;');
import('/tmp/m.mjs').then((m) => { console.log(m, m.default); fs.unlinkSync('/tmp/m.mjs'); });
