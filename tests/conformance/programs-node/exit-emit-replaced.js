const emit = process.emit;
process.emit = function (name, ...rest) { if (name === 'exit') console.log('seen', rest); return emit.call(this, name, ...rest); };
const really = process.reallyExit;
process.reallyExit = function (c) { console.log('really', c); really.call(process, c); };
process.on('exit', () => console.log('listener'));
if (Math.random() < 2) setTimeout(() => {}, 1);
