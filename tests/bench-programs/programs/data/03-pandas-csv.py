import io, pandas as pd
text = "day,city,value\n" + "\n".join(f"2024-01-{1 + i % 28:02d},c{i % 5},{i * 13 % 97}" for i in range(3000))
df = pd.read_csv(io.StringIO(text), parse_dates=["day"])
wide = df.pivot_table(index="day", columns="city", values="value", aggfunc="mean").round(2)
wide.to_json("wide.json")
print(wide.shape, wide.c0.max(), df.value.describe().round(2).to_dict())
