"""condense.py IN OUT: Google Benchmark's JSON -> context and, for each benchmark, its best and its median round, or what it counted in its own rounds."""

import json
import statistics
import sys

with open(sys.argv[1]) as f:
    full = json.load(f)
rounds, results = {}, []
for run in full["benchmarks"]:
    if run["run_type"] != "iteration":
        continue
    name = run["name"].removesuffix("/real_time").removesuffix("/iterations:1/manual_time")
    if "rounds" in run:
        results.append({"name": name, **{key: float(f"{run[key]:.4g}") for key in run if key in ("ms", "GF/s", "GB/s", "rounds") or key[0] == "/"}})
        continue
    for unit in ("GF/s", "GB/s"):
        if unit in run:
            rounds.setdefault((name, unit), []).append(run[unit])
results += [
    {"name": name, "unit": unit, "best": round(max(rates), 1), "median": round(statistics.median(rates), 1), "rounds": len(rates)}
    for (name, unit), rates in rounds.items()
]
context = {k: v for k, v in full["context"].items() if k not in ("executable", "host_name", "library_build_type")}
with open(sys.argv[2], "w") as f:
    f.write('{\n"context": ' + json.dumps(context) + ',\n"results": [\n')
    f.write(",\n".join(json.dumps(r) for r in results) + "\n]}\n")
