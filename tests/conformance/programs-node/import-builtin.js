import('fs').then((m) => console.log(typeof m.default.readFileSync, Object.keys(m).length > 50));
import('node:path').then((m) => console.log(m.join('a', 'b')));
