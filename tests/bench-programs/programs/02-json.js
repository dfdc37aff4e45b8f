const rows = JSON.parse(JSON.stringify(Array.from({ length: 500 }, (_, i) => ({ id: i, name: `user${i}`, score: i * 1.5 }))));
console.log(rows.filter((r) => r.id % 50 === 0).map((r) => r.name).join(' '), rows.reduce((s, r) => s + r.score, 0));
