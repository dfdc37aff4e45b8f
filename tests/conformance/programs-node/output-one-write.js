process.stdout.write('y'.repeat(60000) + '\n', () => { console.error('flushed', process.stdout.writableLength); });
