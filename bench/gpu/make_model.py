"""make_model.py CONFIG_DIRECTORY DIRECTORY: a model with random weights, as a Hugging Face directory.

Copies the JSON files and writes model.safetensors in bfloat16: the same bits at every call. Weights are a few million
normal numbers, repeated: what is measured does not depend on their values, and it takes seconds.
"""

import json
import pathlib
import shutil
import sys

import numpy

POOL = 4194301  # a prime: no two rows of a weight are the same part of it


def shapes(config):
    """{name: shape} of Qwen2 (biases) or Qwen3 (norms of queries and keys)."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    width = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = width * config["num_attention_heads"], width * config["num_key_value_heads"]
    found = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, n in (("q", queries), ("k", keys), ("v", keys)):
            found[f"{layer}self_attn.{name}_proj.weight"] = (n, hidden)
            if config["model_type"] == "qwen2":
                found[f"{layer}self_attn.{name}_proj.bias"] = (n,)
            elif name != "v":
                found[f"{layer}self_attn.{name}_norm.weight"] = (width,)
        found[f"{layer}self_attn.o_proj.weight"] = (hidden, queries)
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            found[f"{layer}mlp.{name}_proj.weight"] = shape
        for name in ("input", "post_attention"):
            found[f"{layer}{name}_layernorm.weight"] = (hidden,)
    if not config.get("tie_word_embeddings"):
        found["lm_head.weight"] = (config["vocab_size"], hidden)
    return found


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.json"):
        shutil.copy(file, target)
    config = json.loads((source / "config.json").read_text())
    normal = numpy.random.default_rng(0).standard_normal(POOL, dtype=numpy.float32) * 0.02
    pool = ((normal.view(numpy.uint32) + 0x8000) >> 16).astype(numpy.uint16)
    pool = numpy.concatenate([pool, pool])
    one = numpy.uint16(0x3f80)
    header, offset, at = {"__metadata__": {"format": "pt"}}, 0, 0
    for name, shape in shapes(config).items():
        bytes_ = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + bytes_]}
        offset += bytes_
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(target / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes(config).items():
            count = int(numpy.prod(shape))
            if name.endswith("norm.weight"):
                numpy.full(count, one).tofile(file)
                continue
            while count > 0:
                piece = min(count, POOL)
                pool[at:at + piece].tofile(file)
                count -= piece
                at = (at + piece) % POOL


if __name__ == "__main__":
    main()
