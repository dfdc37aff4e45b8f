const { setTimeout: sleep, setImmediate: soon } = require('timers/promises');
(async () => { console.log(await sleep(5, 'slept')); console.log(await soon('soon')); const a = new AbortController(); setTimeout(() => a.abort(), 5); await sleep(60000, null, { signal: a.signal }).catch((e) => console.log(e.name, e.code)); })();
