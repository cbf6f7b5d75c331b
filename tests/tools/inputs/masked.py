"""masked.py DIR: of both runs in DIR the backward leaves out some tokens of all chunks, as many; gradients agree."""
import json
import pathlib
import re
import sys

runs = []
for name in ("one", "two"):
    directory = pathlib.Path(sys.argv[1])
    text = (directory / f"{name}.txt").read_text()
    numbers = re.search(r"backward: (\d+) of (\d+) chunks, (\d+) of (\d+) tokens", text)
    assert numbers, text
    chunks, of_chunks, tokens, of_tokens = map(int, numbers.groups())
    assert chunks == of_chunks > 2, numbers.group()
    assert 0 < tokens < of_tokens, numbers.group()
    updates = [json.loads(line) for line in open(directory / name / "metrics.jsonl")]
    runs.append((tokens, of_tokens, updates))
assert runs[0][:2] == runs[1][:2], runs
for a, b in zip(runs[0][2], runs[1][2]):
    for key in ("loss", "grad_norm"):
        assert abs(a[key] - b[key]) <= 1e-5 * max(abs(b[key]), 1e-3), (key, a[key], b[key])
    assert a["grad_norm"] > 0
