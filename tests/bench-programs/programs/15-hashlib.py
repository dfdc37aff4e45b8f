import base64, hashlib, hmac
data = b"x" * 100_000
for name in ("md5", "sha1", "sha256", "blake2b"):
    print(name, hashlib.new(name, data).hexdigest()[:16])
print(base64.b64encode(hmac.digest(b"key", data, "sha256")).decode())
