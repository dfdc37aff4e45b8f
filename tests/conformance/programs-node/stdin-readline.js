require('readline').createInterface({ input: process.stdin }).on('line', (l) => console.log(l)).on('close', () => console.log('close'));
