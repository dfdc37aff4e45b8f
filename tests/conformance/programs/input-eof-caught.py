try:
    input()
except EOFError as e:
    print("EOF", e)
print(repr(__import__("sys").stdin.read()), repr(__import__("sys").stdin.readline()))
