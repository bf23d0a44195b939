"""A second verifier of one session's log and its objects, from a local copy.

Usage: verify.py ROOT BASE VKEYS: a directory, the log's folder in it, and a file with one trusted key a line. It shares
nothing with the gateway but the specification of the archive, and needs only an Ed25519 library. Prints what is wrong
and exits with 1, or prints VERIFIED.
"""

import base64
import hashlib
import json
import os
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

root, base = sys.argv[1], sys.argv[2]
bad = []


def sha(data):
    return hashlib.sha256(data).digest()


def read(path):
    with open(os.path.join(root, path), "rb") as file:
        return file.read()


def trusted_keys(path):
    keys = {}
    with open(path) as file:
        for line in filter(None, (line.strip() for line in file)):
            name, key_id, key = line.split("+", 2)
            raw = base64.b64decode(key)
            assert raw[0] == 1 and sha(name.encode() + b"\n" + raw)[:4].hex() == key_id
            keys[(name, key_id)] = Ed25519PublicKey.from_public_bytes(raw[1:])
    return keys


class Tree:
    """RFC 6962: a stack of complete subtrees, each with its number of leaves."""

    def __init__(self):
        self.stack = []

    def push(self, leaf):
        node, count = sha(b"\0" + leaf), 1
        while self.stack and self.stack[-1][1] == count:
            left, more = self.stack.pop()
            node, count = sha(b"\1" + left + node), count + more
        self.stack.append((node, count))

    def hash(self):
        node = None
        for left, _ in reversed(self.stack):
            node = left if node is None else sha(b"\1" + left + node)
        return node or sha(b"")


def read_segments():
    tree, roots, entries, previous = Tree(), {}, [], None
    for name in sorted(os.listdir(os.path.join(root, base, "seg"))):
        body = read(f"{base}/seg/{name}")
        if not body.endswith(b"\n"):
            bad.append(f"torn segment {name}")
        if int(name[:20]) != len(entries):
            bad.append(f"segment gap before {name}: have {len(entries)} entries")
        before, lines = tree.hash(), body.rstrip(b"\n").split(b"\n")
        head = json.loads(lines[0])
        if head["k"] != "seg":
            bad.append(f"no seg entry in {name}")
        elif previous and (
            head["prev"]["sha256"] != previous or base64.b64decode(head["prev"]["root"]) != before
        ):
            bad.append(f"chain broken at {name}")
        for line in lines:
            entry = json.loads(line)
            if entry["i"] != len(entries):
                bad.append(f"index {entry['i']} at position {len(entries)}")
            entries.append(entry)
            tree.push(line)
            roots[len(entries)] = tree.hash()
        previous = hashlib.sha256(body).hexdigest()
    return entries, roots


def read_checkpoints(keys, roots):
    top, names = 0, sorted(os.listdir(os.path.join(root, base, "cp")))
    for name in names:
        text, signatures = read(f"{base}/cp/{name}").rsplit(b"\n\n", 1)
        text += b"\n"
        origin, size, node = text.decode().split("\n")[:3]
        good = 0
        for line in signatures.decode().splitlines():
            _, signer, signature = line.split(" ")
            signature = base64.b64decode(signature)
            key = keys.get((signer, signature[:4].hex()))
            if key:
                try:
                    key.verify(signature[4:], text)
                    good += signer == origin
                except InvalidSignature:
                    bad.append(f"wrong signature on {name}")
        if not good:
            bad.append(f"no trusted signature on {name}")
            continue
        if roots.get(int(size)) != base64.b64decode(node):
            bad.append(f"root mismatch at {name}")
        top = max(top, int(size))
    return top, len(names)


def check_entries(entries):
    numbers, pending, since = [], [], {}
    for entry in entries:
        if entry["k"] == "obj":
            numbers.append(entry["seq"])
            whose = (entry["tenant"], entry["signal"])
            if "of" not in entry:
                since[whose] = since.get(whose, 0) + entry["n"]
            try:
                data = read(entry["key"])
            except FileNotFoundError:
                bad.append("MISSING " + entry["key"])
                continue
            if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                bad.append("ALTERED " + entry["key"])
        if entry["k"] == "gap":
            first, last = entry.get("seqs") or [entry["seq"]] * 2
            numbers += range(first, last + 1)
        if entry["k"] == "ledger":
            pending = [n for first, last in entry.get("pend", []) for n in range(first, last + 1)]
            for row in entry["rows"]:
                check_row(entry["i"], row, since)
    if len(numbers) != len(set(numbers)):
        bad.append("object seq named twice")
    for number in sorted(set(range(max(numbers, default=-1) + 1)) - set(numbers) - set(pending)):
        bad.append(f"object seq {number} missing")


def check_row(index, row, since):
    came = row["open"] + row["in"] + row.get("carried_in", 0) + row.get("created", 0)
    went = row["arch"] + row.get("merged", 0) + row["lost"] + row["held"]
    went += sum(row["drop"].values()) + sum(row.get("failed", {}).values())
    if came != went:
        bad.append(f"ledger unbalanced at {index}")
    if since.pop((row["tenant"], row["signal"]), 0) != row["arch"]:
        bad.append(f"ledger/object count differ at {index}")


entries, roots = read_segments()
top, checkpoints = read_checkpoints(trusted_keys(sys.argv[3]), roots)
if top != len(entries):
    bad.append(f"{len(entries) - top} entries not covered by a checkpoint")
check_entries(entries)
objects = sum(entry["k"] == "obj" for entry in entries)
print("entries", len(entries), "checkpoints", checkpoints, "objects", objects)
print("\n".join(bad) or "VERIFIED")
sys.exit(1 if bad else 0)
