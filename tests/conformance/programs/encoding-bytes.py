import sys
sys.stdout.buffer.write(bytes(range(256)))
sys.stdout.buffer.write("é".encode()[:1] + b"x\xf0\x9f\x92\n\xed\xa0\x80\xff")
