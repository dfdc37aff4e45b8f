import numpy as np
from scipy import integrate, optimize, stats
print(round(integrate.quad(np.exp, 0, 1)[0], 6), round(optimize.brentq(np.cos, 0, 3), 6))
fit, _ = optimize.curve_fit(lambda x, a, b: a * x + b, np.arange(20), 3 * np.arange(20) + 1)
print(fit.round(3).tolist(), round(stats.norm.cdf(1.96), 4))
np.savetxt("fit.txt", fit)
