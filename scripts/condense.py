"""condense.py IN OUT: Google Benchmark's JSON -> context and, for each benchmark, what it counted in its rounds."""

import json
import sys

with open(sys.argv[1]) as f:
    full = json.load(f)
results = [
    {"name": run["name"].removesuffix("/iterations:1/manual_time"), **{key: float(f"{run[key]:.4g}") for key in run if key in ("ms", "GF/s", "GB/s", "rounds") or key[0] == "/"}}
    for run in full["benchmarks"]
]
context = {k: v for k, v in full["context"].items() if k not in ("executable", "host_name", "library_build_type")}
with open(sys.argv[2], "w") as f:
    f.write('{\n"context": ' + json.dumps(context) + ',\n"results": [\n')
    f.write(",\n".join(json.dumps(r) for r in results) + "\n]}\n")
