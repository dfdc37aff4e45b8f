print("x")
raise SystemExit(None)
