import sys
sys.stdout.write("y" * 65536)
