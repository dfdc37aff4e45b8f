if (require.main !== module) throw new Error('twice');
const again = require('/code/main.js');
console.log(again === module.exports, require('./main') === again, require.resolve('./main.js'));
try { require('./absent'); } catch (e) { console.log(e.code, e.message, e.requireStack); }
try { require('absent'); } catch (e) { console.log(e.code, e.message); }
