process.nextTick(() => console.log('tick')); Promise.resolve().then(() => console.log('micro')); queueMicrotask(() => console.log('queued'));
setImmediate(() => { console.log('immediate'); process.nextTick(() => console.log('tick again')); setImmediate(() => console.log('next round')); });
console.log('sync');
