const { Readable, Transform, pipeline } = require('stream');
let total = 0;
pipeline(
  Readable.from(Array.from({ length: 200 }, (_, i) => `${i}\n`)),
  new Transform({ transform(chunk, _, done) { total += Number(chunk); done(null, chunk); } }),
  new Transform({ transform(_, __, done) { done(); } }),
  (err) => console.log(err ?? 'done', total),
).resume();
