const { Worker, isMainThread, parentPort, workerData, threadId } = require('worker_threads');
new Worker(`console.log(process.argv.length, process.execArgv, process._preload_modules, Object.keys(require.cache), process.env.NODE_OPTIONS, require.main, __filename, Object.keys(require('module')._pathCache)); process.exit(4);`, { eval: true }).on('exit', (c) => console.log('exit', c));
