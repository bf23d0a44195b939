"""Reads an archive with ordinary tools: DuckDB on the log's entries, zstd and the OTLP schema on the objects.

Usage: read.py ROOT: a directory with `data/` and `_weir/`. Prints one JSON object: for each signal, and for what the
gateway says of itself (`own`), how many records the log counts, how many the objects hold, and the numbers in the
records' attribute `n`, sorted.
"""

import hashlib
import json
import os
import sys

import duckdb
import zstandard
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

root = sys.argv[1]
segments = os.path.join(root, "_weir/v1/log/*/*/seg/*.jsonl")
objects = duckdb.execute(
    """
    SELECT signal, tenant, key, size, sha256, n
    FROM read_json(?, format = 'newline_delimited', columns = {
        k: 'VARCHAR', signal: 'VARCHAR', tenant: 'VARCHAR', key: 'VARCHAR', size: 'BIGINT', sha256: 'VARCHAR', n: 'BIGINT'})
    WHERE k = 'obj'
    """,
    [segments],
).fetchall()


def records(signal, plain):
    if signal == "logs":
        data = LogsData.FromString(plain)
        return [r for top in data.resource_logs for scope in top.scope_logs for r in scope.log_records]
    data = TracesData.FromString(plain)
    return [r for top in data.resource_spans for scope in top.scope_spans for r in scope.spans]


told = {}
for signal, tenant, key, size, sha256, count in objects:
    with open(os.path.join(root, key), "rb") as file:
        stored = file.read()
    assert len(stored) == size and hashlib.sha256(stored).hexdigest() == sha256, key
    with zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True) as reader:
        found = records(signal, reader.read())
    whose = "own" if tenant == "_weir" else signal
    sums = told.setdefault(whose, {"counted": 0, "held": 0, "numbers": []})
    sums["counted"] += count
    sums["held"] += len(found)
    sums["numbers"] += [a.value.int_value for r in found for a in r.attributes if a.key == "n"]
for sums in told.values():
    sums["numbers"].sort()
print(json.dumps(told))
