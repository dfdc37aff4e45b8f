import argparse
parser = argparse.ArgumentParser(prog="tool", description="An example.")
parser.add_argument("files", nargs="+")
parser.add_argument("--limit", type=int, default=10)
parser.add_argument("-v", "--verbose", action="store_true")
print(parser.parse_args(["a", "b", "--limit", "3", "-v"]))
print(parser.format_usage().strip())
