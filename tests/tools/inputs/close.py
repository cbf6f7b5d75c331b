"""close.py A B BOUND: losses and gradient norms of two runs agree up to BOUND, relatively, and not in every bit."""
import json
import sys

rows = [[json.loads(line) for line in open(f"{run}/metrics.jsonl")] for run in sys.argv[1:3]]
assert len(rows[0]) == len(rows[1]) > 0, [len(r) for r in rows]
different = 0
for a, b in zip(*rows):
    assert a["tokens"] == b["tokens"], (a, b)
    for key in ("loss", "grad_norm"):
        assert abs(a[key] - b[key]) <= float(sys.argv[3]) * (abs(a["grad_norm"]) + abs(a[key])), (key, a, b)
        different += a[key] != b[key]
# Else the two did not do different things.
assert different, "equal in every bit"
