const { executionAsyncId, AsyncLocalStorage, AsyncResource } = require('async_hooks');
console.log(executionAsyncId(), new AsyncResource('x').asyncId());
const s = new AsyncLocalStorage(); s.run(7, () => setTimeout(() => console.log(s.getStore()), 1));
