import json
text = json.dumps([{"id": i, "name": f"user{i}", "tags": ["a", "b"] * (i % 3), "score": i * 1.5} for i in range(500)])
rows = json.loads(text)
best = sorted((r for r in rows if r["tags"]), key=lambda r: -r["score"])[:5]
print(json.dumps(best, indent=1))
