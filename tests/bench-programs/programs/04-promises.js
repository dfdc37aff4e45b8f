const sleep = (ms, v) => new Promise((r) => setTimeout(r, ms, v));
(async () => {
  const all = await Promise.all(Array.from({ length: 30 }, (_, i) => sleep(i % 3, i * i)));
  console.log(all.reduce((a, b) => a + b));
  console.log(await Promise.race([sleep(50, 'slow'), sleep(1, 'fast')]));
})();
