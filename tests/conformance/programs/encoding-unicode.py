print("ASCII é ß 漢字 💥 \u202e \x1b[31m \u2028 \x7f")
