function f(n) { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) | 0; return s; }
let t = 0; for (let i = 0; i < 200; i++) t ^= f(10000); console.log(t, f(5e6));
console.log([...Array(1e5).keys()].map(String).sort().slice(0, 3), 'ab'.repeat(1e5).replace(/a(?=b)/g, 'c').length);
