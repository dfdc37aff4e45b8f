value = {"a": {"b": None}}
print(value["a"]["b"]["c"]
      + 1,
      2)
