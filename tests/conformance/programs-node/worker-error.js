const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
if (isMainThread) new Worker(__filename).on('error', (e) => console.log(e.name, e.message, e.stack.split('\n')[1])).on('exit', (c) => console.log('exit', c));
else throw new TypeError('in the worker');
