import collections, string, textwrap, unicodedata
text = "Der schnelle braune Fuchs springt über den faulen Hund. " * 20
words = [w.strip(string.punctuation).lower() for w in text.split()]
print(collections.Counter(words).most_common(3))
print(textwrap.fill(text[:160], 40))
print(unicodedata.normalize("NFKD", "Žluťoučký kůň").encode("ascii", "ignore").decode())
