print("before")
input("prompt> ")
