import os
open("/output/имя-é", "w").close()
open(b"/output/\xff", "w").close()
print(sorted(os.listdir("/output")), sorted(os.listdir(b"/output")))
