console.log('%s %d %i %f %j %o %O %%', 'a', 1.5, 1.5, '2.5', { a: 1 }, [1], { b: { c: { d: { e: 1 } } } });
console.table([{ a: 1, b: 2 }, { a: 3, b: 4 }]);
console.group('g'); console.info('in'); console.groupEnd(); console.warn('w'); console.dir({ x: new Map([[1, { a: 2 }]]), y: new Set([1]), z: Symbol('s'), f() {}, d: new Date(0), r: /x/g, n: -0, big: 10n });
console.count(); console.count(); console.assert(false, 'asserted');
