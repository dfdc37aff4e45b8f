const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
if (isMainThread) { const a = new Int32Array(new SharedArrayBuffer(8)); let left = 3; for (let i = 0; i < 3; i++) new Worker(__filename, { workerData: a }).on('exit', () => { if (!--left) console.log(a[0], Atomics.load(a, 0)); }); }
else for (let i = 0; i < 1000; i++) Atomics.add(workerData, 0, 1);
