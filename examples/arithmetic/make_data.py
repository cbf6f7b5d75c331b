#!/usr/bin/env python3
"""Writes sums.jsonl: every sum of two digits, in a fixed shuffled order."""
import json
import pathlib
import random

pairs = [(a, b) for a in range(10) for b in range(10)]
random.Random(1).shuffle(pairs)
with open(pathlib.Path(__file__).parent / "sums.jsonl", "w") as f:
    for a, b in pairs:
        f.write(json.dumps({"question": f"{a}+{b}=", "answer": str(a + b)}) + "\n")
