import sys
print(sys.argv, getattr(sys, "orig_argv", ["python3", "-u", "/code/main.py"]))
