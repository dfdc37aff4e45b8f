class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; this.code = 'E_MINE'; this.more = { a: [1] }; } }
console.log('before');
throw new Mine('custom\nsecond line');
