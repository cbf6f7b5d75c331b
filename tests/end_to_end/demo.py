#!/usr/bin/env python3
"""The demo does what the README says: from random weights, with a mean reward
below 0.2, to a mean reward above 0.9.

usage: demo.py R1C EXAMPLES WORK_DIR
"""
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

r1c, examples, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
subprocess.run([r1c, "run", str(examples / "arithmetic" / "step.r1"), "--out", str(work), "--quiet"], check=True)

rows = [json.loads(line) for line in open(work / "metrics.jsonl")]
reason = [row for row in rows if row["stage"] == "reason"]
first = reason[0]["reward/mean"]
last = statistics.mean(row["reward/mean"] for row in reason[-50:])
print(f"reward of the first round {first:.3f}, mean of the last fifty {last:.3f}")
assert first < 0.2 and last > 0.9
# One minibatch a round: every update is on-policy, to the bit.
assert all(row["ratio/max_deviation"] == 0 for row in reason)
assert (work / "actor" / "model.safetensors").exists() and (work / "samples.jsonl").stat().st_size > 0
