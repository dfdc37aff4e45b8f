import json, os
data = json.load(open("/input/data.json"))
with open("/output/result.json", "w") as f:
    json.dump({"sum": sum(range(100)), "keys": sorted(data)}, f)
print(sorted(os.listdir("/output")))
