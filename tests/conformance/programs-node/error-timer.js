setTimeout(() => { undefinedFunction(); }, 5);
setTimeout(() => console.log('not reached'), 500);
