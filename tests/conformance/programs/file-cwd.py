import os, sys
print(os.getcwd(), os.path.exists("main.py"), os.environ.get("PWD"))
print([p for p in sys.path if not p.startswith("/")])
