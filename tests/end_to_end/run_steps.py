#!/usr/bin/env python3
"""Runs programs of the language's own examples with small policies.

usage: run_steps.py R1C STEPS_DIR WORK_DIR [NAME...]

Each program is taken as it stands but for sizes and weights: load(...) becomes
a small llama(...), groups, lengths and minibatches shrink, and the data it
names is written here. Then it must compile, run for a few updates, and leave
metrics in which every number is finite. What is not supported yet must be
refused by name, with exit code 1.
"""
import json
import math
import pathlib
import re
import subprocess
import sys

POLICY = ('llama(layers = 2, hidden = 32, heads = 4, kv_heads = 2, intermediate = 64, context = 96, '
          'tokenizer = characters("0123456789+=<>/.,:?! abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ`\\n"))')

# Refused until it exists, with these words.
REFUSED = {
    "reward-model": "head = scalar",
    "r1-pipeline": "head = scalar",
    "lora": "lora(...)",
    "code-execution": "run(...)",
}


def shrink(text):
    text = re.sub(r'load\((?:"[^"]*"|model)(, head = scalar)?\)',
                  lambda m: m.group(0) if m.group(1) else POLICY, text)
    # The small policy writes characters and has no chat format.
    text = re.sub(r'chat\(("[^"]*")\)', r'\1', text)
    text = re.sub(r'param model\s*=.*\n', '', text)
    text = re.sub(r'\bgroups = \d+', 'groups = 4', text)
    text = re.sub(r'\bgroup_size = (\d+)', lambda m: f"group_size = {min(int(m[1]), 4)}", text)
    text = re.sub(r'max_new_tokens = limit', 'max_new_tokens = 12', text)
    text = re.sub(r'max_new_tokens = \d+( if step < 8200 else \d+)?', 'max_new_tokens = 12', text)
    text = re.sub(r'minibatches = \d+', 'minibatches = 2', text)
    # Random weights never solve anything: a third of what they write has one of these letters.
    text = re.sub(r'rewards\.accuracy\((\w+)\)', r'(rewards.accuracy(\1) or matches(\1.text, `(?s).*[a-c].*`))', text)
    text = re.sub(r'tries = 10', 'tries = 2', text)
    text = re.sub(r'max_tokens = \d+', 'max_tokens = 64', text)
    return text


def write_data(text, folder):
    for name in set(re.findall(r'jsonl\("([^"]+)"', text)):
        with open(folder / name, "w") as f:
            for i in range(24):
                f.write(json.dumps({
                    "question": f"{i}+1=", "answer": str(i + 1), "language": "en" if i % 2 else "zh",
                    "statement": "add", "tests": "", "kind": "reasoning", "prompt": f"{i}+1=",
                    "response": f"{i + 1}", "reasoning": "one more", "chosen": "yes", "rejected": "no",
                    # Six prompts, four outputs each: lines with one prompt form a group.
                    "prompt_token_ids": [i // 4 + 1, 11, 2], "token_ids": [3, 4 + i % 4, 0],
                    # Near those of a policy that knows nothing.
                    "logprobs": [-4.4, -4.2 - 0.1 * (i % 4), -4.3], "reward": (i % 3) / 2.0}) + "\n")
    for name in set(re.findall(r'file\("([^"]+)"', text)):
        (folder / name).write_text("question: {question} answer: ")


def check(name, r1c, source, work):
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    text = shrink(source.read_text())
    step = folder / "step.r1"
    step.write_text(text)
    write_data(text, folder)
    out = folder / "run"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    result = subprocess.run([r1c, "run", str(step), "--out", str(out), "--steps", "3", "--quiet",
                             "--checkpoint-every", "0"],
                            capture_output=True, text=True, timeout=300)
    if name in REFUSED:
        if result.returncode == 1 and REFUSED[name] in result.stderr:
            return None
        return f"must be refused with '{REFUSED[name]}': exit code {result.returncode}, {result.stderr[-600:]}"
    if result.returncode != 0:
        return f"exit code {result.returncode}: {result.stderr[-800:]}"
    rows = [json.loads(line) for line in open(out / "metrics.jsonl")]
    if len(rows) < 3:
        return f"{len(rows)} updates instead of 3"
    for row in rows:
        for key, value in row.items():
            # A number that is not finite is written as a text.
            if key == "stage":
                continue
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                return f"update {row['step']}: {key} is {value}"
        if row["grad_norm"] < 0:
            return "a negative gradient norm"
    return None if any(row["grad_norm"] > 0 for row in rows) else "nothing to learn from"


def main():
    r1c, steps, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    wanted = sys.argv[4:]
    failed = 0
    for source in sorted(steps.glob("*.r1")):
        if wanted and source.stem not in wanted:
            continue
        problem = check(source.stem, r1c, source, work)
        print(f"{'ok    ' if problem is None else 'FAILED'} {source.stem}" + (f"\n  {problem}" if problem else ""),
              flush=True)
        failed += problem is not None
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
