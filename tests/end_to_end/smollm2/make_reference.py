#!/usr/bin/env python3
"""What `transformers` computes with a model directory: reference.json.

Greedy tokens after chat prompts in float32, and the log-probability of each
token of given texts after the ones before it, in float32 and in bfloat16.

usage: make_reference.py MODEL_DIR OUT.json        (needs torch and transformers)
"""
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    ["What is the capital of France?", ""],
    ["Write one sentence about the sea.", ""],
    ["Which is larger, 17 or 71? Explain briefly.", "You answer in one short sentence."],
    ["def fibonacci(n):", "Complete the Python function."],
    ["Traduis en anglais : « Il pleut des cordes. »", ""],
    ["List three colors.\nOne per line.", ""],
]
TEXTS = [
    "The quick brown fox jumps over the lazy dog. In 1969, two people walked on the moon; 400,000 others had helped "
    "them get there.",
    "for (int i = 0; i < n; ++i) {\n  sum += a[i] * b[i];  // naïve, but 正しい\n}\n",
]
NEW_TOKENS = 32


def logprobs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def main():
    directory, out = sys.argv[1:]
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    single = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    half = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__},
              "greedy": [], "texts": []}
    for question, system in PROMPTS:
        messages = ([{"role": "system", "content": system}] if system else []) + [
            {"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        output = single.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                 max_new_tokens=NEW_TOKENS, do_sample=False)[0][len(ids):].tolist()
        result["greedy"].append({"question": question, "system": system, "prompt": prompt, "ids": ids,
                                 "output": output,
                                 "text": tokenizer.decode(output, skip_special_tokens=True)})
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        result["texts"].append({"text": text, "ids": ids, "float32": logprobs(single, ids),
                                "bfloat16": logprobs(half, ids)})
    with open(out, "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


main()
