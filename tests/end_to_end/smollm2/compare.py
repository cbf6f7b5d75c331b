#!/usr/bin/env python3
"""SmolLM2-135M-Instruct in r1c against `transformers` (reference.json).

Chat prompts and token ids are the same; greedy tokens in float32 are the same;
log-probabilities agree within the bounds below.

usage: compare.py R1C TOKENIZE MODEL_DIR WORK_DIR
"""
import json
import pathlib
import shutil
import subprocess
import sys

r1c, tokenize, model, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[4])
reference = json.loads((pathlib.Path(__file__).parent / "reference.json").read_text())
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)

# float32: both sides sum 576 to 1536 products in another order, 30 layers deep; 2^-24 each leaves a few 1e-5.
# bfloat16: r1c rounds the operands of products alone and sums in float32, transformers rounds every result
# to 8 bits. So r1c must stay nearer to float32 than transformers' own bfloat16 does, on average.
FLOAT32_BOUND = 2e-4


def lines(path):
    return [json.loads(line) for line in open(path)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(name, step, weights):
    (work / f"{name}.r1").write_text(step)
    out = work / f"{name}-{weights}"
    subprocess.run([r1c, "run", str(work / f"{name}.r1"), "--weights", weights, "--out", str(out), "--quiet"],
                   check=True)
    return out


def check_tokens():
    asked = [{"text": g["question"], "system": g["system"]} for g in reference["greedy"]]
    asked += [t["text"] for t in reference["texts"]]
    result = subprocess.run([tokenize, str(model)], input="".join(json.dumps(a) + "\n" for a in asked),
                            capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    for given, answer in zip(reference["greedy"] + reference["texts"], answers, strict=True):
        assert answer["ids"] == given["ids"], given
        if "prompt" in given:
            assert answer["prompt"] == given["prompt"], given


def check_greedy():
    groups = reference["greedy"]
    write(work / "prompts.jsonl", [{"prompt": g["prompt"]} for g in groups])
    tokens = max(len(g["output"]) for g in groups)
    out = run("greedy", f"""
policy actor = load("{model}")
data prompts = jsonl("prompts.jsonl", prompt = "{{prompt}}")
stage look(rounds = {len(groups)}) {{
  o = sample(actor, prompts, groups = 1, temperature = 0, max_new_tokens = {tokens})
  metric length = rollout.sum(o.length)
}}
""", "float32")
    samples = {s["prompt"]: s for s in lines(out / "samples.jsonl")}
    for g in groups:
        sample = samples[g["prompt"]]
        assert sample["text"] == g["text"] and sample["length"] == len(g["output"]), (g, sample)


def check_logprobs():
    # A line a token: all before it are the prompt, so that a metric is its log-probability alone.
    rows = [{"before": t["ids"][:i], "token": [t["ids"][i]]} for t in reference["texts"]
            for i in range(1, len(t["ids"]))]
    write(work / "tokens.jsonl", rows)
    step = f"""
policy actor = load("{model}")
data tokens = jsonl("tokens.jsonl", prompt_ids = "before", ids = "token")
stage score(rounds = {len(rows)}) {{
  o = read(tokens, groups = 1, max_tokens = 256, order = "file")
  metric logp = rollout.sum(logp(actor, o))
}}
"""
    single = [p for t in reference["texts"] for p in t["float32"]]
    half = [p for t in reference["texts"] for p in t["bfloat16"]]

    def distance(values):
        differences = [abs(v - s) for v, s in zip(values, single, strict=True)]
        return max(differences), sum(differences) / len(differences)

    ours = {weights: distance([line["logp"] for line in lines(run("score", step, weights) / "metrics.jsonl")])
            for weights in ("float32", "bfloat16")}
    theirs = distance(half)
    print(f"log-probabilities of {len(rows)} tokens against transformers in float32 (largest, mean difference):")
    print(f"  r1c float32            {ours['float32'][0]:.2g}  {ours['float32'][1]:.2g}")
    print(f"  r1c bfloat16           {ours['bfloat16'][0]:.2g}  {ours['bfloat16'][1]:.2g}")
    print(f"  transformers bfloat16  {theirs[0]:.2g}  {theirs[1]:.2g}")
    assert ours["float32"][0] < FLOAT32_BOUND, ours
    assert ours["bfloat16"][1] < theirs[1] and ours["bfloat16"][0] < 2 * theirs[0], (ours, theirs)


check_tokens()
check_greedy()
check_logprobs()
