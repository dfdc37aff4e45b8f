Error.stackTraceLimit = 2;
function a() { return b(); } function b() { return c(); } function c() { return new Error('deep').stack; }
console.log(a());
Error.stackTraceLimit = 50;
console.log(a());
