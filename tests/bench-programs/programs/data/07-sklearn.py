import json
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
x, y = load_iris(return_X_y=True)
a, b, c, d = train_test_split(x, y, random_state=0)
score = LogisticRegression(max_iter=500).fit(a, c).score(b, d)
json.dump({"score": score}, open("result.json", "w"))
print(round(score, 3))
