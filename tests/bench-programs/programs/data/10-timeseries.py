import numpy as np, pandas as pd
index = pd.date_range("2024-01-01", periods=2000, freq="h")
s = pd.Series(np.sin(np.arange(2000) / 24) * 10 + 50, index=index)
daily = s.resample("D").mean()
print(len(daily), daily.rolling(7).mean().dropna().round(2).head(3).to_dict())
daily.to_csv("daily.csv")
