import os
f = open("/output/x", "w")
f.write("lost")
os.write(1, b"direct\n")
os._exit(1)
