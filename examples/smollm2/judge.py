#!/usr/bin/env python3
"""A reward as a program: reads {"id": n, "args": [text, answer]} a line, answers {"id": n, "value": reward}.

1 for a text whose last number is the answer, else 0.
"""
import json
import re
import sys

for line in sys.stdin:
    call = json.loads(line)
    text, answer = call["args"]
    numbers = re.findall(r"-?\d+", text)
    print(json.dumps({"id": call["id"], "value": float(numbers[-1:] == [answer])}), flush=True)
