#!/usr/bin/env python3
"""usage: compare_filtered.py RUN OTHER

Two runs of filtered.r1 whose chunks are cut at other rows agree in the first
update in every number but the gradient's norm; in both, another
policy with the weights that sampled says what was recorded, and the entropy is
that of a kept set."""
import json
import math
import sys

runs = [[json.loads(line) for line in open(folder + "/metrics.jsonl")] for folder in sys.argv[1:]]
first = [{k: v for k, v in run[0].items() if not k.startswith("seconds") and k != "grad_norm"} for run in runs]
assert first[0] == first[1], first
for row in runs[0] + runs[1]:
    # Weights are nearly 0, so all 14 tokens are nearly as probable; 9 or 10 of them reach 0.7.
    assert row["spread"] <= math.log(10) + 1e-6 < row["whole_spread"] <= math.log(14) + 1e-6, row
    assert (row["reference_distance"] == 0) == (row["round"] == 0), row
