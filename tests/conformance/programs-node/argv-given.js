//: args ["a", "b c", "", "--flag", "ü\ud83d\ude00"]
console.log(process.argv, process.argv.slice(2).map((s) => s.length)); console.log(require('util').parseArgs({ allowPositionals: true, strict: false }));
