import('./absent.mjs').catch((e) => console.log(e.code, e.message));
import('absent').catch((e) => console.log(e.code, e.message));
require('fs').writeFileSync('/tmp/bad.mjs', 'export export');
import('/tmp/bad.mjs').catch((e) => console.log(e.name, e.message));
