#!/usr/bin/env python3
"""A reward as a program: reads {"id": n, "args": [text, answer]} a line, answers {"id": n, "value": reward}.

1 for the right number and nothing else, 0.5 for an answer whose last number is right, else 0.
"""
import json
import re
import sys

for line in sys.stdin:
    call = json.loads(line)
    text, answer = call["args"]
    numbers = re.findall(r"-?\d+", text)
    reward = 0.0
    if numbers and numbers[-1] == answer:
        reward = 1.0 if text.strip() == answer else 0.5
    print(json.dumps({"id": call["id"], "value": reward}), flush=True)
