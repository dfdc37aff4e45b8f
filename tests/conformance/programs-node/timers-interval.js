let n = 0;
const i = setInterval(() => { console.log(++n); if (n === 3) clearInterval(i); }, 3);
setTimeout(() => console.log('unreffed'), 100000).unref();
