process.argv.push('x'); process.argv[0] = 'y'; console.log(process.argv, process.execPath, process.argv0);
