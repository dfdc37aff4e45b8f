import sqlite3
c = sqlite3.connect(":memory:")
c.execute("create table t (a, b)")
c.executemany("insert into t values (?, ?)", [(i, i * i) for i in range(5)])
print(c.execute("select sum(b) from t").fetchall())
