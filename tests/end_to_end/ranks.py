#!/usr/bin/env python3
"""Runs of several ranks: what must be the same, bit for bit or to rounding, as
with one; resumed runs; ranks that die or stall.

usage: ranks.py R1C R1C_RUN MPIRUN WORK_DIR
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

r1c, r1c_run, mpirun = sys.argv[1:4]
work = pathlib.Path(sys.argv[4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

seed = random.randrange(1 << 30)
print("seed", seed)
random.seed(seed)
(work / "sums.jsonl").write_text("".join(
    json.dumps({"question": f"{a}+{b}=" + "=" * random.randrange(4), "answer": str(a + b)}) + "\n"
    for a in range(4) for b in range(4)))
# What it says of equal answers is the same, but for `noise`.
(work / "judge.py").write_text("""import json, random, sys
noise = float(sys.argv[1])
for line in sys.stdin:
    call = json.loads(line)
    value = sum(map(ord, call["args"][0])) % 7 / 7 + noise * random.random()
    print(json.dumps({"id": call["id"], "value": value}), flush=True)
""")
head = """import losses
import advantages

extern judge(answer: text): number = program("python3 judge.py NOISE", workers = 2, timeout = 60, failure = 0)
policy actor = llama(layers = 3, hidden = 32, heads = 2, kv_heads = 1, intermediate = 64, context = 24,
                     tokenizer = characters("0123456789+="))
data sums = jsonl("sums.jsonl", prompt = "{question}", answer = text)

stage train(steps = 6) {
"""
# The one-sweep form, with a condition and tries.
grpo = head + """
  o     = sample(actor, sums, groups = 7, group_size = 4, temperature = 1.0, max_new_tokens = 6, tries = 3)
          where group.std(judge(o.text)) > 0.1
  score = judge(o.text) + equal(o.text, o.answer)
  update(actor, losses.grpo(actor, o, advantages.zscore(score)), adamw(lr = 1e-2, clip_norm = 1.0), minibatches = 2)
}
"""
# Ratios of whole sequences: two passes.
gspo = head.replace("import losses\n", "") + """
  o         = sample(actor, sums, groups = 6, group_size = 4, temperature = 1.0, max_new_tokens = 6)
  advantage = advantages.zscore(judge(o.text))
  loss whole_sequences {
    ratio = exp(sequence.mean(logp(actor, o) - o.logp))
    minimize -batch.mean(min(ratio * advantage, clip(ratio, 0.8, 1.2) * advantage))
  }
  update(actor, whole_sequences, adamw(lr = 1e-2), minibatches = 2)
}
"""
# An entropy term, kept sets, a reference that is scored, and idle sequences.
entropy = head.replace("import losses\nimport advantages\n", "").replace("data sums", "policy reference = actor\ndata sums") + """
  o    = sample(actor, sums, groups = 5, group_size = 3, temperature = 0.9, top_p = 0.9, max_new_tokens = 6)
  said = logp(reference, o)
  gain = token(judge(o.text) if judge(o.text) > 0.4 else 0)
  loss objective {
    lp = logp(actor, o)
    minimize -batch.mean(exp(lp - o.logp) * gain) - 0.01 * batch.mean(entropy(actor, o)) + 0.1 * batch.mean(lp - said)
  }
  update(actor, objective, adamw(lr = 1e-2), minibatches = 2)
  metric distance = rollout.max(abs(said - o.logp))
}
"""
noisy = grpo.replace("NOISE", "0.01")
steps = {"grpo": grpo, "gspo": gspo, "entropy": entropy}
artifacts = {}
for name, text in [*steps.items(), ("noisy", noisy)]:
    source = work / f"{name}.r1"
    source.write_text(text.replace("NOISE", "0"))
    artifacts[name] = work / f"{name}.r1x"
    # Few rows a chunk: ranks have several each.
    subprocess.run([r1c, "compile", source, "-o", artifacts[name], "--chunk-rows=64"], check=True)


def command(ranks, artifact, out, *more):
    launch = [mpirun, "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    return [*launch, r1c_run, str(artifact), "--out", str(out), "--quiet", "--threads", "1", *map(str, more)]


def run(ranks, artifact, out, *more):
    result = subprocess.run(command(ranks, artifact, out, *more), env=environment, capture_output=True, text=True,
                            timeout=300)
    assert result.returncode == 0, result.stderr
    return result


def rows(out):
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k}
            for line in open(out / "metrics.jsonl")]


def ranks_of(out):
    """The processes of a run by rank."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0")
            if line[0].endswith(b"r1c-run") and str(out).encode() in line:
                variables = dict(v.split(b"=", 1) for v in (entry / "environ").read_bytes().split(b"\0") if b"=" in v)
                found[int(variables[b"OMPI_COMM_WORLD_RANK"])] = int(entry.name)
        except (OSError, ValueError, IndexError, KeyError):
            pass
    return found


def close(a, b):
    return abs(a - b) <= 2e-5 * max(abs(a), abs(b), 1e-2)


# What sampling and judging gave in the first round is the same with any number
# of ranks; losses and gradients agree to the rounding of float32 sums.
exact = re.compile("reward|length|tokens|groups|externs|distance|step|stage|round")
for name in steps:
    out = {ranks: work / f"{name}-{ranks}" for ranks in (1, 2, 3)}
    for ranks in out:
        run(ranks, artifacts[name], out[ranks])
    one = rows(out[1])
    assert len(one) == 6 and all(row["grad_norm"] > 0 for row in one), one
    sampled = [line for line in open(out[1] / "samples.jsonl") if json.loads(line)["round"] == 0]
    for ranks in (2, 3):
        several = rows(out[ranks])
        assert [line for line in open(out[ranks] / "samples.jsonl") if json.loads(line)["round"] == 0] == sampled
        for a, b in zip(one[:2], several[:2]):
            assert a.keys() == b.keys()
            for key in a:
                assert a[key] == b[key] if exact.match(key) else close(a[key], b[key]), (name, ranks, key, a, b)
        assert several[0].get("ratio/max_deviation", 0) == 0
    # Two ranks, again: every bit.
    again = work / f"{name}-again"
    run(2, artifacts[name], again)
    assert rows(again) == rows(out[2])
    weights = pathlib.Path("actor") / "model.safetensors"
    assert (again / weights).read_bytes() == (out[2] / weights).read_bytes()
    assert (again / "samples.jsonl").read_bytes() == (out[2] / "samples.jsonl").read_bytes()
    print(name, "1, 2, 3 ranks agree; 2 ranks twice: same bits")

# Each layer's gradient is summed by itself, and that begins in the backward.
trace = work / "trace.json"
run(2, artifacts["grpo"], work / "traced", "--trace", trace)
events = [event for event in json.loads(trace.read_text()) if "ts" in event]
sums = [event for event in events if event["name"] == "all_reduce"]
backwards = [event for event in events if event["name"] == "backward"]
assert len(sums) == 3 * 2 * (3 + 1) and all(event["tid"] == 2 for event in sums), sums
given = [event["ts"] - event["args"]["given_us_before"] for event in sums]
begun = [any(b["ts"] < time < b["ts"] + b["dur"] for b in backwards) for time in given]
# But for updates in which this rank learnt nothing in its last chunk.
assert sum(begun) >= 6, begun
assert rows(work / "traced") == rows(work / "grpo-2")
print(f"{sum(begun)} of {len(sums)} sums were handed over inside a backward")

# A judge that never says the same twice says one thing to all ranks: they
# compare their states at the end.
run(3, artifacts["noisy"], work / "noisy-3")
print("a judge that changes its mind: ranks stay together")

# Killed and resumed as if nothing had been.
whole = work / "gspo-600"
run(2, artifacts["gspo"], whole, "--steps", 600)
killed = work / "killed"
process = subprocess.Popen(command(2, artifacts["gspo"], killed, "--steps", 600, "--checkpoint-every", 20),
                           env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
deadline = time.time() + 120
while time.time() < deadline and not list(killed.glob("checkpoints/round-*")):
    time.sleep(0.01)
for each in ranks_of(killed).values():
    os.kill(each, signal.SIGKILL)
process.wait()
assert len(rows(killed)) < 600, "it ended before it was killed"
run(2, artifacts["gspo"], killed, "--steps", 600, "--resume")
assert rows(killed) == rows(whole)
assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
print("killed and resumed: same bits")


def is_there(process):
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def start(out, *more):
    """A run under way: the launcher, its ranks."""
    process = subprocess.Popen(command(2, artifacts["gspo"], out, "--steps", 1000000, *more), env=environment,
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.time() + 120
    while time.time() < deadline and not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size):
        time.sleep(0.01)
    processes = ranks_of(out)
    assert sorted(processes) == [0, 1], processes
    return process, processes


def end(process, within):
    begin = time.time()
    errors = process.communicate(timeout=within + 60)[1]
    took = time.time() - begin
    assert took < within, f"ended after {took:.1f} s: {errors}"
    return errors, took


line = r"error: rank 0 of 2: \S+\.r1:\d+:\d+: (all_reduce, bucket \d of 4|gather of \w+|end of a round|between collectives)"

# One that dies is named at once, with what the others were at.
process, processes = start(work / "dies")
os.kill(processes[1], signal.SIGKILL)
errors, took = end(process, 15)
assert process.returncode != 0
assert re.search(line + rf": rank 1 \(process {processes[1]} on [^)]*dead\) has died", errors), errors
print(f"SIGKILL: ended after {took:.1f} s:", re.search("error: rank.*", errors)[0])

# One that stands still, after the time that was given.
process, processes = start(work / "stalls", "--collective-timeout", 3)
os.kill(processes[1], signal.SIGSTOP)
errors, took = end(process, 3 + 15)
assert process.returncode != 0 and took > 2.5
assert re.search(line + r".*within 3 s \(--collective-timeout\): rank 1 \(process \d+ on \S+ stopped\)", errors), errors
print(f"SIGSTOP: ended after {took:.1f} s:", re.search("error: rank.*", errors)[0])
deadline = time.time() + 15
while any(is_there(process) for process in processes.values()):
    assert time.time() < deadline, "a rank is still there"
    time.sleep(0.1)

# Asked to stop, any one of them: all stop after the round, with a checkpoint.
for rank, asked in ((0, signal.SIGINT), (1, signal.SIGTERM)):
    out = work / f"stops-{rank}"
    process, processes = start(out)
    os.kill(processes[rank], asked)
    end(process, 30)
    assert list(out.glob("checkpoints/round-*")), "no checkpoint"
    run(2, artifacts["gspo"], out, "--resume", "--steps", len(rows(out)) + 2)
print("SIGINT, SIGTERM: stopped with a checkpoint, and went on")

# Started differently.
different = [mpirun, "--oversubscribe", "-n", "1", *command(1, artifacts["gspo"], work / "different"), ":", "-n", "1",
             *command(1, artifacts["gspo"], work / "different", "--seed", 7)]
result = subprocess.run(different, env=environment, capture_output=True, text=True, timeout=120)
assert result.returncode != 0
said = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
assert len(said) == 1 and "error: rank 0 of 2: rank 1 has another --seed than rank 0: 7, not none; " in said[0], result.stderr

# One that never comes to MPI's start, which waits for it. (One that has ended mpirun may notice first.)
never = [mpirun, "--oversubscribe", "-n", "1", *command(1, artifacts["gspo"], work / "never", "--collective-timeout", 2),
         ":", "-n", "1", "sleep", "100"]
result = subprocess.run(never, env=environment, capture_output=True, text=True, timeout=60)
assert result.returncode != 0
assert "error: MPI has not started within 2 s (--collective-timeout): a rank has ended" in result.stderr, result.stderr

# An error of one rank is its own, said once.
broken = work / "broken.r1"
(work / "fails.py").write_text("""import json, os, sys
for line in sys.stdin:
    call = json.loads(line)
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        sys.exit(3)
    print(json.dumps({"id": call["id"], "value": 1}), flush=True)
""")
broken.write_text(grpo.replace("judge.py NOISE", "fails.py").replace(" > 0.1", " >= 0"))
result = subprocess.run([mpirun, "--oversubscribe", "--bind-to", "none", "-n", "2", r1c, "run", str(broken), "--out",
                         str(work / "broken"), "--quiet", "--threads", "1"], env=environment, capture_output=True,
                        text=True, timeout=300)
assert result.returncode != 0
said = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
assert len(said) == 1 and re.match(r"error: rank 1 of 2: \S*broken\.r1:1\d:\d+: extern 'judge'", said[0]), result.stderr
print("errors:", said[0])

# Without the library that knows MPI.
alone = work / "alone"
alone.mkdir()
shutil.copy(r1c_run, alone)
result = subprocess.run([alone / "r1c-run", str(artifacts["gspo"]), "--out", str(work / "alone-out")],
                        env=dict(environment, OMPI_COMM_WORLD_SIZE="2"), capture_output=True, text=True)
assert result.returncode == 1 and "install an MPI" in result.stderr, result.stderr
