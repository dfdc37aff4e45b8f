const fs = require('fs');
fs.mkdirSync('/tmp/node_modules/dep', { recursive: true }); fs.writeFileSync('/tmp/node_modules/dep/package.json', '{"main":"x.js","version":"1.2.3"}'); fs.writeFileSync('/tmp/node_modules/dep/x.js', 'module.exports = [__filename, module.parent && module.parent.filename, require.main.filename]');
const r = require('module').createRequire('/tmp/y.js');
console.log(r('dep'), r('dep/package.json').version, Object.keys(require.cache));
fs.rmSync('/tmp/node_modules', { recursive: true });
