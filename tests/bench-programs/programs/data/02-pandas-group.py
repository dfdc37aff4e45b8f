import numpy as np, pandas as pd
df = pd.DataFrame({"shop": [f"s{i % 7}" for i in range(5000)], "amount": np.arange(5000) % 101})
table = df.groupby("shop").amount.agg(["count", "sum", "max"])
table.to_csv("table.csv")
print(table)
