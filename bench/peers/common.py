"""What the peers' scripts share: interleaved rounds, memory, the machine, rows of results.

A script measures both sides in turn in one run and hands its rows to `report`, which prints them and leaves
bench/results/KIND/peers/NAME.json for the table of `./dev bench --peers` (table.py).
"""

import datetime
import importlib
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "bin"
WORK = ROOT / "build" / "peers"  # environments, sources of peers, models


def kind():
    """The machine by the kernels that it runs: results of one kind are kept together."""
    flags = next((set(line.split()) for line in open("/proc/cpuinfo") if line.startswith("flags")), set())
    return next((name for flag, name in (("amx_bf16", "amx"), ("avx512_bf16", "avx512-bf16"), ("avx512f", "avx512"))
                 if flag in flags), "avx2")


RESULTS = ROOT / "bench" / "results" / kind() / "peers"


def say(*words):
    print("peers:", *words, file=sys.stderr, flush=True)


def need(*modules):
    """The modules, or an end with what to do."""
    found = []
    for name in modules:
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:
            sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {error}. `./dev bench --peers` makes an environment with all "
                     f"that the peers need in {WORK.relative_to(ROOT)}/venv; run this script with its bin/python.")
    return found


def need_binary(name):
    if not (BIN / name).exists():
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: no build/bin/{name}; ./dev build {name}")
    return BIN / name


def mean_seconds(call, least=0.1):
    """Mean of as many calls as `least` seconds take: what Google Benchmark gives, too."""
    start, calls = time.perf_counter(), 0
    while True:
        call()
        calls += 1
        took = time.perf_counter() - start
        if took >= least:
            return took / calls


def google_benchmark(binary, pattern=".", least=0.1, environment=None):
    """One round of a benchmark: {name: {"seconds", counters}}."""
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([need_binary(binary), f"--benchmark_filter={pattern}", f"--benchmark_min_time={least}",
                        f"--benchmark_out={file.name}", "--benchmark_out_format=json"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, **(environment or {})}, timeout=300)
        found = {}
        for run in json.load(open(file.name))["benchmarks"]:
            if run["run_type"] == "iteration":
                found[run["name"].removesuffix("/real_time")] = run | {
                    "seconds": run["real_time"] * units[run["time_unit"]]}
        return found


def peaks():
    """Peak GF/s and GB/s of this machine: {"f32 2T": …, "bf16 1T": …, "read 2T": …}."""
    return json.loads(subprocess.run([need_binary("bench_peak")], check=True, capture_output=True, text=True).stdout)


def high_water():
    """The largest resident size of this process so far, in bytes."""
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def run_watched(command, timeout, **options):
    """Runs a program; gives its standard output and the largest resident size that it had, in bytes."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, **options)
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                sys.exit(f"{command[0]} took more than {timeout} seconds")
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{out.read()}{err.read()}"[-4000:])
        return out.read(), usage.ru_maxrss * 1024


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) // 2**20 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    git = lambda *words: subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()
    commit = git("rev-parse", "--short", "HEAD")
    # Results of earlier runs may have changed, what they measure may not.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
    return {"date": datetime.datetime.now().isoformat(timespec="minutes"), "cpu": cpu,
            "cores": len(os.sched_getaffinity(0)), "GiB": memory, "commit": commit + ("+changes" if changed else "")}


def row(what, case, unit, peer, r1c, goal, **more):
    """One line of results. `unit` "s" or "MiB": less is better; a rate, "tok/s": more is better."""
    ratio = r1c / peer if unit.endswith("/s") else peer / r1c
    return {"what": what, "case": case, "unit": unit, "peer": peer, "r1c": r1c, "ratio": ratio, "goal": goal} | more


def number(value, unit):
    if unit == "s":
        return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.0f} {unit}"


def report(name, peer, rows, **context):
    """Prints rows and keeps them. `peer`: its name and version."""
    width = max(len(r["what"]) for r in rows), max(len(r["case"]) for r in rows)
    print(f"{'':{width[0]}}  {'':{width[1]}}  {peer[:24]:>24} {'r1c':>12} {'ratio':>6} {'goal':>5} {'of peak':>8}")
    for r in rows:
        share = f"{r['share']:.0%}" if "share" in r else ""
        print(f"{r['what']:{width[0]}}  {r['case']:{width[1]}}  {number(r['peer'], r['unit']):>24} "
              f"{number(r['r1c'], r['unit']):>12} {r['ratio']:6.2f} {r['goal']:5.2f} {share:>8}"
              + ("" if r["ratio"] >= r["goal"] else "  missed"), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with open(RESULTS / f"{name}.json", "w") as f:
        f.write('{"peer": ' + json.dumps(peer) + ',\n"context": ' + json.dumps(machine() | context) + ',\n"rows": [\n')
        f.write(",\n".join(json.dumps({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in r.items()})
                           for r in rows) + "\n]}\n")


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def need_model(directory):
    """SmolLM2-135M as examples/smollm2/setup.sh gets it."""
    if not (directory / "model.safetensors").exists():
        setup = ROOT / "examples" / "smollm2" / "setup.sh"
        say("getting SmolLM2-135M")
        subprocess.run([setup, "--model-only", directory.parent], check=True)


def endless(model):
    """The model with an end token that it never says (no text of its training had it): every sample is of full
    length. The weights are the same file."""
    out = WORK / "endless"
    out.mkdir(parents=True, exist_ok=True)
    names = {t["id"]: t["content"] for t in json.loads((model / "tokenizer.json").read_text())["added_tokens"]}
    for file in model.iterdir():
        target = out / file.name
        target.unlink(missing_ok=True)
        if file.suffix == ".safetensors":
            target.symlink_to(file.resolve())
        elif file.suffix == ".json":
            settings = json.loads(file.read_text())
            for key, value in (("eos_token_id", 3), ("eos_token", names[3])):
                if key in settings:
                    settings[key] = value
            target.write_text(json.dumps(settings))
    return out


def compile_step(name, text, *flags):
    """The artifact of a step file."""
    source, artifact = WORK / f"{name}.r1", WORK / f"{name}.r1x"
    source.write_text(text)
    subprocess.run([need_binary("r1c"), "compile", source, "-o", artifact, *flags], check=True, cwd=WORK)
    return artifact


def run_step(artifact, threads, *flags):
    """Runs an artifact: its metrics, a line an update or round, and the largest resident size in bytes."""
    with tempfile.TemporaryDirectory(dir=WORK) as out:
        _, size = run_watched([need_binary("r1c-run"), artifact, "--base", WORK, "--out", out, "--threads", threads,
                               "--checkpoint-every", 0, "--quiet", *flags], 300)
        return [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")], size
