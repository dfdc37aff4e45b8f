import pathlib, shutil, tempfile
with tempfile.TemporaryDirectory() as d:
    root = pathlib.Path(d)
    for i in range(20):
        f = root / f"dir{i % 3}" / f"file{i}.txt"
        f.parent.mkdir(exist_ok=True)
        f.write_text("x" * i)
    print(sorted(p.relative_to(root).as_posix() for p in root.rglob("*1*.txt")))
    print(sum(p.stat().st_size for p in root.rglob("*.txt")))
    shutil.make_archive("files", "zip", root)
print(pathlib.Path("files.zip").exists())
