import sys
e = ValueError("with notes", 3)
if sys.version_info >= (3, 11):
    e.add_note("a note")
    e.add_note("two\nlines")
raise e
