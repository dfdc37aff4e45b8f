import os, tempfile
with tempfile.NamedTemporaryFile() as f:
    print(os.path.dirname(f.name), os.path.exists(f.name))
print(tempfile.gettempdir(), os.path.expanduser("~"))
try:
    open("/etc/x", "w")
except OSError:
    print("not writable")
