class Animal { #name; constructor(name) { this.#name = name; } get name() { return this.#name; } speak() { return `${this.name} makes a sound`; } }
class Dog extends Animal { speak() { return `${super.speak()}: woof`; } }
const seen = new Map([[new Dog('rex'), 1], [new Animal('it'), 2]]);
for (const [a, n] of seen) console.log(n, a.speak());
console.log([...new Set([3, 1, 3, 2])].sort(), Object.entries({ a: 1, b: [2] }));
