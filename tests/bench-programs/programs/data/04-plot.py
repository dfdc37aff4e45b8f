import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np
x = np.linspace(0, 10, 300)
fig, ax = plt.subplots()
ax.plot(x, np.sin(x), label="sin")
ax.plot(x, np.cos(x), label="cos")
ax.legend(); ax.set_title("waves")
fig.savefig("plot.png")
import os
print(os.path.getsize("plot.png") > 10000)
