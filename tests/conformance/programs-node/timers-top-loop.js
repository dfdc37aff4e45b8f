const order = [];
setImmediate(() => order.push('i1')); fsRead();
function fsRead() { require('fs').readFile(__filename, () => { order.push('read'); setTimeout(() => { order.push('t'); console.log(order.includes('i1'), order.indexOf('i') < order.indexOf('t')); }, 0); setImmediate(() => order.push('i')); }); }
