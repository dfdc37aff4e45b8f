function f() { g(); }
function g() { throw new TypeError('boom'); }
f();
