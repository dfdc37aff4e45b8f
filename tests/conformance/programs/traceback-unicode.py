def größe(ключ):
    raise ValueError("ошибка — 誤り " + ключ)


größe("é")
