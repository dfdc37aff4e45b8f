console.log(Object.getOwnPropertyNames(globalThis).join(' '));
console.log(Object.getOwnPropertyNames(process).join(' '));
console.log(this === module.exports, typeof exports, arguments.length, process.eventNames(), process.listenerCount('exit'));
console.log(process.emit === require('events').prototype.emit, Object.getOwnPropertyNames(Object.getPrototypeOf(process)));
