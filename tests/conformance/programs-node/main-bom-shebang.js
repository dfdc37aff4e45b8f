#!/usr/bin/env node
console.log('shebang');
const stack = new Error('here').stack.split('\n');
console.log(stack.join('\n'));
