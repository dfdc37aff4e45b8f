const assert = require('assert');
try { assert.deepStrictEqual({ a: 1, b: [1, 2] }, { a: 1, b: [1, 3] }); } catch (e) { console.log(e.message, e.code); }
assert.strictEqual(1, 2);
