#!/usr/bin/env python3
"""trace.json idle/metrics.jsonl busy/metrics.jsonl: the trace is one that
Chrome and Perfetto read, its events nest, and the first update of both runs
has the same gradient to rounding (chunks are summed in another order)."""
import json
import sys

events = [e for e in json.load(open(sys.argv[1])) if e["ph"] == "X"]
categories = {e["cat"] for e in events}
assert categories == {"round", "sample", "chunk", "kernel"}, categories
assert {"train chunk", "backward", "rollout step", "train round 0"} <= {e["name"] for e in events}
rounds = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["cat"] == "round"]
assert len(rounds) == 2, rounds
for e in events:
    assert e["dur"] >= 0, e
    if e["cat"] in ("chunk", "sample"):
        assert any(a <= e["ts"] and e["ts"] + e["dur"] <= b + 1 for a, b in rounds), e
assert any(e["args"].get("shared_rows", 0) > 0 for e in events)

idle, busy = (json.loads(open(path).readline()) for path in sys.argv[2:4])
for key in ("grad_norm", "loss"):
    assert abs(idle[key] - busy[key]) <= 1e-5 * max(abs(busy[key]), 1e-3), (key, idle[key], busy[key])
assert idle["grad_norm"] > 0
