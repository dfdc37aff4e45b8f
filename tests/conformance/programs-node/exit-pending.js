setInterval(() => {}, 1000);
setTimeout(() => { console.log('leaving'); process.exit(0); }, 5);
