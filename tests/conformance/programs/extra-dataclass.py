from dataclasses import dataclass, field, asdict
import json


@dataclass
class Input:
    n: int
    names: list = field(default_factory=list)


data = json.load(open("/input/data.json"))
i = Input(**{"n": 3, **data})
json.dump(asdict(i), open("/output/result.json", "w"))
print(i, i == Input(3), Input.__module__)
