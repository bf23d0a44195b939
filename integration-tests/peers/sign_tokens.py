"""Writes a key set to the file that is named, and prints tokens that PyJWT signs with its key.

A line each: one for `weir`, one for somebody else, one for `weir` that is over, and one that another key signed.
"""

import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

key, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
public.update(kid="one", use="sig", alg="RS256")
with open(sys.argv[1], "w") as file:
    json.dump({"keys": [public]}, file)
for audience, seconds, signer in [("weir", 600, key), ("other", 600, key), ("weir", -600, key), ("weir", 600, other)]:
    claims = {
        "iss": "https://issuer.example.com",
        "aud": audience,
        "sub": "ada",
        "exp": int(time.time()) + seconds,
    }
    print(jwt.encode(claims, signer, algorithm="RS256", headers={"kid": "one"}))
