import os
for k, v in sorted(os.environ.items()):
    if "TIMEOUT" not in k:
        print(k, "=", v)
