"""condense.py IN OUT: Google Benchmark's JSON -> context and, for each benchmark, its best and its median round."""

import json
import statistics
import sys

with open(sys.argv[1]) as f:
    full = json.load(f)
rounds = {}
for run in full["benchmarks"]:
    if run["run_type"] == "iteration":
        rates = {unit: run[unit] for unit in ("GF/s", "GB/s") if unit in run}
        for unit, rate in rates.items():
            rounds.setdefault((run["name"].removesuffix("/real_time"), unit), []).append(rate)
results = [
    {"name": name, "unit": unit, "best": round(max(rates), 1), "median": round(statistics.median(rates), 1), "rounds": len(rates)}
    for (name, unit), rates in rounds.items()
]
context = {k: v for k, v in full["context"].items() if k not in ("executable", "host_name", "library_build_type")}
with open(sys.argv[2], "w") as f:
    f.write('{\n"context": ' + json.dumps(context) + ',\n"results": [\n')
    f.write(",\n".join(json.dumps(r) for r in results) + "\n]}\n")
