//: stdin "one\ntwo \u00fc\n\nlast"
require('readline').createInterface({ input: process.stdin }).on('line', (l) => console.log(JSON.stringify(l))).on('close', () => console.log('close'));
