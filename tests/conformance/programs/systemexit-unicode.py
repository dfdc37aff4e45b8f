import sys
print("на stdout")
sys.exit("ошибка: ё 💥")
