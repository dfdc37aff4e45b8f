class D:
    def __del__(self):
        print("deleted", self.__class__.__name__)


d = D()
print("end of main")
