import os, sys
print(__file__, os.path.abspath(__file__), os.path.dirname(__file__), sys.path[0])
print(os.listdir(os.path.dirname(__file__)), os.access(__file__, os.W_OK), oct(os.stat(__file__).st_mode))
