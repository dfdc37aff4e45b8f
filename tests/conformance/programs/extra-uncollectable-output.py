import io, os, sys
f = open("/output/late.txt", "w")
f.write("written at exit")
sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(os.dup(1), "w")))
print("buffered until exit")
