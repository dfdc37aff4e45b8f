const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
if (isMainThread) { const w = new Worker(__filename); w.on('message', () => w.terminate().then((c) => console.log('terminated', c))); }
else { parentPort.postMessage(1); for (;;); }
