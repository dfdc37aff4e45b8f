const t = process.hrtime.bigint(), d = Date.now();
setTimeout(() => console.log(process.hrtime.bigint() - t >= 149000000n, Date.now() - d >= 149), 150);
setTimeout(() => console.log('first'), 50);
