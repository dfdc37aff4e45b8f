Error.prepareStackTrace = (e, s) => s.map((c) => `${c.getFileName()}:${c.getLineNumber()}:${c.getFunctionName()}`).join('|');
console.log(new Error('x').stack);
