process.stdout.on('error', (e) => console.error('error', e.code));
process.stdout.end('last\n', () => { console.error('ended'); setTimeout(() => console.log('lost'), 1); });
