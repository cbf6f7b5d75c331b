#!/usr/bin/env python3
"""Stands for a benchmark: says how it was called, and writes one result where Google Benchmark would."""
import json
import pathlib
import sys

print(pathlib.Path(sys.argv[0]).name, *sys.argv[1:], flush=True)
for word in sys.argv[1:]:
    if word.startswith("--benchmark_out="):
        runs = [{"name": "one/iterations:1/manual_time", "run_type": "iteration", "GF/s": 2.0, "/peak": 0.5}]
        pathlib.Path(word.split("=", 1)[1]).write_text(json.dumps({"context": {}, "benchmarks": runs}))
