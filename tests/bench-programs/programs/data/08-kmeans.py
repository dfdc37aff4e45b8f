import numpy as np
from sklearn.cluster import KMeans
points = np.concatenate([np.random.default_rng(i).normal(10 * i, 1, size=(100, 2)) for i in range(3)])
model = KMeans(3, n_init=5, random_state=0).fit(points)
np.save("centers.npy", model.cluster_centers_)
print(sorted(np.bincount(model.labels_).tolist()), np.sort(model.cluster_centers_[:, 0]).round(0).tolist())
