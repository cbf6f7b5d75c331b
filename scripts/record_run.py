"""record_run.py RUN_DIR OUT.json [NOTE]: what happened in a run, and what an update cost, for bench/results/.

Keeps of each update its reward, held-out metrics and seconds by part; of the whole run the machine, the commit and
medians.
"""

import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys

run, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
lines = [json.loads(line) for line in open(run / "metrics.jsonl")]


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
parts = ["seconds"] + [f"seconds/{part}" for part in ("sample", "score", "train", "update")]
keep = ["step", "reward/mean", "accuracy", "held_out_accuracy", "ratio/max_deviation", "grad_norm",
        "response_length/mean", "tokens", *parts]
context = {"date": datetime.date.today().isoformat(), "cpu": cpu(), "cores": len(__import__("os").sched_getaffinity(0)),
           "commit": commit, "run": sys.argv[3] if len(sys.argv) > 3 else ""}
tenth = max(1, len(lines) // 10)
summary = {
    "updates": len(lines),
    "reward/mean of the first and the last tenth": [
        round(statistics.mean(line["reward/mean"] for line in some), 4) for some in (lines[:tenth], lines[-tenth:])],
    "median by part": {part: round(statistics.median(line[part] for line in lines), 3) for part in parts},
}
with open(out, "w") as f:
    f.write('{\n"context": ' + json.dumps(context) + ',\n"summary": ' + json.dumps(summary) + ',\n"updates": [\n')
    rows = [{k: round(line[k], 5) if isinstance(line[k], float) else line[k] for k in keep if k in line}
            for line in lines]
    f.write(",\n".join(json.dumps(row) for row in rows) + "\n]}\n")
