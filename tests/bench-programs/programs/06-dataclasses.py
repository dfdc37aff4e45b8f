from __future__ import annotations
import dataclasses, enum, typing
class Kind(enum.Enum):
    A = "a"
    B = "b"
@dataclasses.dataclass(order=True)
class Item:
    price: float
    name: str = dataclasses.field(compare=False)
    kind: Kind = dataclasses.field(default=Kind.A, compare=False)
    notes: typing.List[str] = dataclasses.field(default_factory=list, compare=False)
items = [Item(i * 7 % 13, f"n{i}", Kind.B if i % 2 else Kind.A) for i in range(10)]
for item in sorted(items)[:4]:
    print(item)
print(dataclasses.asdict(max(items))["name"])
