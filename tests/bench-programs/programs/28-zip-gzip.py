import gzip, io, tarfile, zipfile, zlib
data = b"line of text\n" * 5000
print(len(gzip.compress(data, mtime=0)) < 500, zlib.crc32(data))
buf = io.BytesIO()
with zipfile.ZipFile(buf, "w", zipfile.ZIP_DEFLATED) as z:
    for i in range(10): z.writestr(f"f{i}.txt", data[: i * 100])
print(sum(i.file_size for i in zipfile.ZipFile(buf).infolist()))
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as t:
    info = tarfile.TarInfo("x"); info.size = len(data); t.addfile(info, io.BytesIO(data))
print(len(tar.getvalue()))
