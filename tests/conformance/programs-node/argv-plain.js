console.log(process.argv, process.argv.length);
