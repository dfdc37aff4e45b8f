raise SystemExit("a text for stderr")
