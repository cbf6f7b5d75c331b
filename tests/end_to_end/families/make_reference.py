#!/usr/bin/env python3
"""Log-probabilities of the tiny models by `transformers`, in float32: reference.json.

usage: make_reference.py MODELS OUT.json      (MODELS: what make_models.py wrote; needs torch and transformers)
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM

models, out = pathlib.Path(sys.argv[1]), sys.argv[2]
ids = [(7 * i * i + 3 * i) % 95 + 1 for i in range(48)]
result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "ids": ids}
for directory in sorted(models.iterdir()):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    result[directory.name] = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
with open(out, "w") as f:
    json.dump(result, f, indent=1)
    f.write("\n")
