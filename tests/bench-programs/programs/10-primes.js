const sieve = new Uint8Array(2_000_000);
let count = 0;
for (let i = 2; i < sieve.length; i++) {
  if (sieve[i]) continue;
  count++;
  for (let j = i * i; j < sieve.length; j += i) sieve[j] = 1;
}
console.log(count);
