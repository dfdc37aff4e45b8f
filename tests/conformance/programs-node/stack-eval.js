try { eval('1;\nnull.x'); } catch (e) { console.log(e.stack); }
try { new Function('return y')(); } catch (e) { console.log(e.stack); }
try { require('vm').runInThisContext('z', { filename: 'given.js' }); } catch (e) { console.log(e.stack); }
