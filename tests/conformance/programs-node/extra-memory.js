const a = []; for (let i = 0; i < 200; i++) a.push(Buffer.alloc(1 << 16, i)); console.log(a.reduce((n, b) => n + b[9], 0));
let o = null; for (let i = 0; i < 1e6; i++) o = { o: i % 1000 ? o : null, i }; console.log(o.i, process.memoryUsage().heapUsed > 1e6);
