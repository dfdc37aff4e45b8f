const b = Buffer.from('h\u00e9llo \u{1f600}');
console.log(b, b.toString('base64'), b.toString('hex'), b.toString('latin1'), Buffer.byteLength('\u{1f600}'), b.readUInt16BE(1), Buffer.compare(b, Buffer.alloc(3)));
process.stdout.write(Buffer.from([0, 1, 2, 0x41, 0x0a]));
console.log(new TextDecoder('utf-16le').decode(new Uint8Array([65, 0, 66, 0])), new TextDecoder('shift_jis').decode(new Uint8Array([0x82, 0xa0])), structuredClone(new Map([[1, b]])));
