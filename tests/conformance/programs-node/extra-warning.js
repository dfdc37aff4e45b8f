process.removeAllListeners('warning'); // it prints the process id
process.on('warning', (w) => console.log(w.name, w.code, w.message));
process.emitWarning('careful', 'MyWarning', 'W1');
new Buffer(3);
