raise ValueError("long " * 10000)
