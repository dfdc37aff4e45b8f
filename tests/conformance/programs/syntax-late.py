print("never printed")
for i in range(3):
    continue
return 5
