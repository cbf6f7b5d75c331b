#!/usr/bin/env python3
"""Writes the data of the arithmetic example: sums of two numbers below 20.

worked.jsonl: questions with answers written out, for the short supervised start.
sums.jsonl:   questions whose answer only the reward knows.
held_out.jsonl: questions that neither of the two contains.
"""
import json
import pathlib
import random

LIMIT = 20
here = pathlib.Path(__file__).parent
pairs = [(a, b) for a in range(LIMIT) for b in range(LIMIT)]
random.Random(1).shuffle(pairs)
parts = {"held_out.jsonl": pairs[:40], "worked.jsonl": pairs[40:104], "sums.jsonl": pairs[40:]}
for name, part in parts.items():
    with open(here / name, "w") as f:
        for a, b in part:
            f.write(json.dumps({"question": f"{a}+{b}=", "answer": str(a + b)}) + "\n")
