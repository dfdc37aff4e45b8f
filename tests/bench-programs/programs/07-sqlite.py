import dataclasses, pathlib, sqlite3, typing
@dataclasses.dataclass
class Sale:
    shop: str
    amount: int
db = sqlite3.connect("sales.db")
db.execute("create table sale (id integer primary key, shop text, amount integer)")
db.executemany("insert into sale (shop, amount) values (?, ?)", [(f"shop{i % 5}", i * 17 % 101) for i in range(1000)])
db.commit()
for row in db.execute("select shop, count(*), sum(amount), max(amount) from sale group by shop order by 3 desc"):
    print(*row)
print(pathlib.Path("sales.db").exists())
