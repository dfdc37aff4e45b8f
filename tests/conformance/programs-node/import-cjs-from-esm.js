require('fs').writeFileSync('/tmp/e.mjs', 'import m from "/code/main.js"; console.log(m.x, import.meta.url);');
module.exports = { x: 5 };
if (require.main === module) import('/tmp/e.mjs').then(() => console.log('done'));
