import csv, io
source = io.StringIO()
w = csv.DictWriter(source, ["city", "year", "people"])
w.writeheader()
for i in range(300):
    w.writerow({"city": "city %d" % (i % 7), "year": 2000 + i % 20, "people": i * 31 % 977})
source.seek(0)
totals = {}
for row in csv.DictReader(source):
    totals[row["city"]] = totals.get(row["city"], 0) + int(row["people"])
for city in sorted(totals):
    print(city, totals[city])
