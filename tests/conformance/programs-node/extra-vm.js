const vm = require('vm');
const c = vm.createContext({ x: 2 }); console.log(vm.runInContext('x * 21; ', c), Object.keys(vm.runInContext('globalThis', c)));
try { vm.runInNewContext('for(;;);', {}, { timeout: 20 }); } catch (e) { console.log(e.code); }
console.log(typeof gc, process.binding === undefined, process.features.inspector);
console.log(require('v8').cachedDataVersionTag(), require('v8').getHeapStatistics().heap_size_limit);
