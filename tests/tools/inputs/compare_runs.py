#!/usr/bin/env python3
"""Runs of the same program must agree in every number but the times; the first
of two minibatches is on-policy: its largest |ratio - 1| is exactly 0."""
import json
import sys


def numbers(folder):
    rows = [json.loads(line) for line in open(folder + "/metrics.jsonl")]
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]


first = numbers(sys.argv[1])
assert len(first) == 4, f"{len(first)} updates"
for folder in sys.argv[2:]:
    assert numbers(folder) == first, f"{folder} differs from {sys.argv[1]}"
for row in first:
    assert isinstance(row["loss"], float) and row["grad_norm"] >= 0
    if row["step"] % 2 == 1:
        assert row["ratio/max_deviation"] == 0, row
assert any(row["ratio/max_deviation"] > 0 for row in first), "the policy never moved"
