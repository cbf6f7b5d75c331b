#!/usr/bin/env python3
"""A run that is killed goes on from its last checkpoint and ends with the same
bits as one that was left alone: metrics but for the times, and weights.

usage: resume.py R1C STEP_FILE WORK_DIR
"""
import json
import pathlib
import shutil
import subprocess
import sys
import time

r1c, source, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
step = work / "step.r1"
step.write_text(source.read_text().replace("steps = 4", "steps = 1000"))
shutil.copy(source.parent / "sums.jsonl", work)


def command(out, *more):
    return [r1c, "run", str(step), "--out", str(out), "--quiet", "--checkpoint-every", "20", *more]


def numbers(out):
    rows = [json.loads(line) for line in open(out / "metrics.jsonl")]
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]


whole, killed = work / "whole", work / "killed"
subprocess.run(command(whole), check=True)
process = subprocess.Popen(command(killed, "--threads", "1"))
metrics = killed / "metrics.jsonl"
deadline = time.time() + 120
while time.time() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > 100):
    time.sleep(0.005)
process.kill()
process.wait()
reached = len(metrics.read_text().splitlines())
assert 100 < reached < 1000, f"killed after {reached} updates: not in the middle"
# And again, wherever it is.
again = 0
for delay in (0.02, 0.15, 0.3, 0.5, 0.7):
    process = subprocess.Popen(command(killed, "--resume"))
    try:
        assert process.wait(timeout=delay) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        again += 1
subprocess.run(command(killed, "--resume"), check=True)
assert numbers(killed) == numbers(whole)
weights = pathlib.Path("actor") / "model.safetensors"
assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
print(f"killed after {reached} updates and {again} times more, resumed, same bits")
