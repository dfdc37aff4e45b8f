#: args ["one", "two words", "--flag=", "é"]
import sys
print(sys.argv, len(sys.argv))
