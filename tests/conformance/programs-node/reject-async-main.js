async function main() { console.log('begin'); await new Promise((r) => setTimeout(r, 5)); throw new SyntaxError('from main'); }
main();
