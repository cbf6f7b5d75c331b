#!/usr/bin/env python3
"""Writes tiny models of the families that load(...) knows, with weights from a formula.

usage: make_models.py OUT          (OUT/llama3, OUT/qwen2, OUT/qwen3; needs numpy)
"""
import json
import pathlib
import sys

import numpy as np

HIDDEN, HEADS, KV_HEADS, WIDTH, INTERMEDIATE, VOCABULARY, LAYERS = 64, 4, 2, 16, 96, 96, 3
ARCHITECTURES = {"llama3": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def config(family):
    result = {
        "architectures": [ARCHITECTURES[family]], "model_type": family.replace("llama3", "llama"),
        "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": WIDTH,
        "num_hidden_layers": LAYERS, "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 128, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": family != "qwen3", "torch_dtype": "float32", "eos_token_id": 0, "bos_token_id": None}
    if family == "llama3":
        result["rope_scaling"] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    return result


def shapes(family):
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for part, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{prefix}self_attn.{part}_proj.weight", (rows * WIDTH, HIDDEN)
            if family == "qwen2":
                yield f"{prefix}self_attn.{part}_proj.bias", (rows * WIDTH,)
            if family == "qwen3" and part != "v":
                yield f"{prefix}self_attn.{part}_norm.weight", (WIDTH,)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HEADS * WIDTH)
        for part in ("gate", "up"):
            yield f"{prefix}mlp.{part}_proj.weight", (INTERMEDIATE, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
        for part in ("input", "post_attention"):
            yield f"{prefix}{part}_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    if family == "qwen3":
        yield "lm_head.weight", (VOCABULARY, HIDDEN)


def weights(number, shape):
    """Numbers that look random and are the same everywhere."""
    index = np.arange(int(np.prod(shape)), dtype=np.float64)
    wave = np.sin(index * 12.9898 + number) * 43758.5453
    wave = 2 * (wave - np.floor(wave)) - 1
    return (wave * 0.3 if len(shape) == 2 else 1 + wave * 0.2).astype(np.float32).reshape(shape)


def main():
    for family in ARCHITECTURES:
        out = pathlib.Path(sys.argv[1]) / family
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(config(family)))
        (out / "r1c_tokenizer.json").write_text(json.dumps(
            {"kind": "characters", "alphabet": "".join(map(chr, range(32, 127)))}))
        header, data = {}, b""
        for number, (name, shape) in enumerate(shapes(family)):
            array = weights(number, shape)
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + array.nbytes]}
            data += array.tobytes()
        text = json.dumps(header).encode()
        (out / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    main()
