# store/writer.go: every commit with synchronous=NORMAL, as if nobody had asked for a durable one
s/mode = "FULL"/mode = "NORMAL"/
s/full: true/full: false/
