#!/usr/bin/env python3
"""Tiny models of every family in r1c against `transformers` (reference.json), and the directories that r1c saves.

usage: compare.py R1C WORK_DIR
"""
import json
import pathlib
import shutil
import subprocess
import sys

r1c, work, here = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(__file__).parent
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
subprocess.run([sys.executable, str(here / "make_models.py"), str(work)], check=True)
reference = json.loads((here / "reference.json").read_text())
ids = reference["ids"]
with open(work / "tokens.jsonl", "w") as f:
    for i in range(1, len(ids)):
        f.write(json.dumps({"before": ids[:i], "token": [ids[i]]}) + "\n")


def logprobs(name, directory):
    step = work / f"{name}.r1"
    step.write_text(f"""
policy actor = load("{directory}", context = 64)
data tokens = jsonl("tokens.jsonl", prompt_ids = "before", ids = "token")
stage score(rounds = {len(ids) - 1}) {{
  every 1000 steps {{ save(actor, "kept") }}
  o = read(tokens, groups = 1, max_tokens = 64, order = "file")
  metric logp = rollout.sum(logp(actor, o))
}}
""")
    out = work / f"{name}-run"
    subprocess.run([r1c, "run", str(step), "--out", str(out), "--quiet"], check=True)
    return [json.loads(line)["logp"] for line in open(out / "metrics.jsonl")], out / "saves" / "kept" / "step-000000"


for family in ("llama3", "qwen2", "qwen3"):
    ours, saved = logprobs(family, family)
    worst = max(abs(a - b) for a, b in zip(ours, reference[family], strict=True))
    print(f"{family}: largest difference {worst:.2g}")
    # Three layers of float32 sums in another order, on log-probabilities of about 10.
    assert worst < 2e-5, family
    # What was loaded is saved with the same shape and bits: nothing was updated.
    kept = json.loads((work / family / "config.json").read_text())
    written = json.loads((saved / "config.json").read_text())
    for key in ("model_type", "architectures", "head_dim", "rope_theta", "rope_scaling", "tie_word_embeddings",
                "max_position_embeddings", "vocab_size", "num_key_value_heads"):
        assert written.get(key) == kept.get(key), (family, key, written.get(key), kept.get(key))
    again, _ = logprobs(family + "-saved", saved.resolve())
    assert again == ours, family

# A configuration with fewer layers than the file would silently be another model.
shutil.copytree(work / "llama3", work / "shallow")
config = json.loads((work / "shallow" / "config.json").read_text())
(work / "shallow" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
(work / "shallow.r1").write_text((work / "llama3.r1").read_text().replace('load("llama3"', 'load("shallow"'))
result = subprocess.run([r1c, "run", str(work / "shallow.r1"), "--out", str(work / "shallow-run"), "--quiet"],
                        capture_output=True, text=True)
assert result.returncode == 1 and "holds the tensor 'model.layers.2." in result.stderr, result.stderr
