import getpass, warnings
warnings.simplefilter("ignore")
try:
    print(getpass.getpass("secret: "))
except EOFError:
    print("EOF")
