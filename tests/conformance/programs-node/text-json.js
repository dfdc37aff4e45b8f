console.log(JSON.stringify({ a: [undefined, NaN, new Date(0)], u: undefined, s: '\u2028\ud800' }), JSON.parse('{"__proto__": 1}'));
try { JSON.parse('{bad'); } catch (e) { console.log(e.name, e.message); }
console.log(require('v8').deserialize(require('v8').serialize({ a: 1n, m: new Map([[1, 2]]) })), require('zlib').gunzipSync(require('zlib').gzipSync('z')).toString());
