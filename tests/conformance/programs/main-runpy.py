import runpy
if __name__ == "__main__":
    g = runpy.run_path(__file__, run_name="again")
    print(g["__name__"], g["__file__"], g["seen"])
seen = __name__
print("ran as", seen)
