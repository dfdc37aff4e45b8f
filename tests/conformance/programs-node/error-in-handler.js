process.on('uncaughtException', (e) => { console.log('first', e.message); throw new Error('second'); });
throw new Error('first');
