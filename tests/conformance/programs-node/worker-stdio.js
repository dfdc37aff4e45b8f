const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
if (isMainThread) new Worker(__filename, { stdout: true, argv: ['x'], env: { A: '1' } }).stdout.on('data', (d) => process.stdout.write('> ' + d));
else console.log(process.argv.slice(2), process.env.A, Object.keys(process.env));
