#!/usr/bin/env python3
"""The example's step runs: its reward program, its held-out evaluation, an update; what it saves is a model again.

With fewer and shorter outputs, and with tasks written here.

usage: example.py R1C EXAMPLE_DIR MODEL_DIR WORK_DIR
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

r1c, example, model, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
shutil.copy(example / "judge.py", work)
(work / "model").symlink_to(model)
for name in ("train", "held_out"):
    (work / f"{name}.jsonl").write_text("".join(
        json.dumps({"question": f"What is {a} + {b}?", "answer": str(a + b)}) + "\n" for a in range(1, 4) for b in range(1, 4)))

step = (example / "step.r1").read_text()
for name, most in (("groups", 2), ("group_size", 4), ("max_new_tokens", 8)):
    step, count = re.subn(rf"\b{name} = \d+", f"{name} = {most}", step)
    assert count, f"the example has no '{name}' any more"
(work / "step.r1").write_text(step)
subprocess.run([r1c, "run", str(work / "step.r1"), "--out", str(work / "out"), "--steps", "2", "--quiet"], check=True)
rows = [json.loads(line) for line in open(work / "out" / "metrics.jsonl")]
assert len(rows) == 2
for row in rows:
    assert row["ratio/max_deviation"] == 0 and 0 <= row["reward/mean"] <= 1, row
assert 0 <= rows[0]["held_out_accuracy"] <= 1 and "held_out_accuracy" not in rows[1], rows
saved = work / "out" / "actor"
assert (saved / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
(work / "again.r1").write_text("""policy actor = load("out/actor", context = 64)
data train = jsonl("train.jsonl", prompt = chat("{question}"))
stage look(rounds = 1) {
  o = sample(actor, train, groups = 1, temperature = 0, max_new_tokens = 4)
  metric length = rollout.mean(o.length)
}
""")
subprocess.run([r1c, "run", str(work / "again.r1"), "--out", str(work / "again"), "--quiet"], check=True)
print(f"rewards {[row['reward/mean'] for row in rows]}, saved and loaded again")
