import calendar, datetime, zoneinfo
start = datetime.datetime(2024, 3, 30, 12, tzinfo=datetime.timezone.utc)
for days in range(4):
    print((start + datetime.timedelta(days=days)).astimezone(datetime.timezone(datetime.timedelta(hours=2))).isoformat())
print(calendar.month(2024, 2))
print(len(zoneinfo.TZPATH) > 0)
