let n = 0;
function f() { n++; f(); }
try { f(); } catch (e) { console.log(e instanceof RangeError, e.message, n > 1000); }
const deep = {}; let d = deep; for (let i = 0; i < 100000; i++) d = d.a = {};
try { JSON.stringify(deep); } catch (e) { console.log(e.name, e.message); }
