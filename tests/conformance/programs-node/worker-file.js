const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
if (isMainThread) { const w = new Worker(__filename, { workerData: { n: 20 } }); w.on('message', (m) => console.log('got', m)).on('exit', (c) => console.log('exit', c)); }
else { const f = (n) => (n < 2 ? n : f(n - 1) + f(n - 2)); parentPort.postMessage({ fib: f(workerData.n), threadId }); }
