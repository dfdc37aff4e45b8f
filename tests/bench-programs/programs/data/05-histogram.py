import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd
df = pd.DataFrame(np.random.default_rng(1).normal(size=(1000, 3)), columns=list("abc"))
df.plot.hist(bins=30, alpha=0.5)
plt.savefig("hist.svg")
print(df.corr().abs().to_numpy().trace())
