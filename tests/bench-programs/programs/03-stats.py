import datetime, json, random, re, statistics
random.seed(7)
rows = [{"day": (datetime.date(2024, 1, 1) + datetime.timedelta(days=i)).isoformat(), "value": round(random.gauss(50, 9), 3)} for i in range(200)]
text = json.dumps(rows)
values = [float(v) for v in re.findall(r'"value": ([0-9.]+)', text)]
print(len(values), round(statistics.mean(values), 3), round(statistics.stdev(values), 3), round(statistics.median(values), 3))
