#!/usr/bin/env python3
"""Writes a Hugging Face directory with the tokenizer of another one and small random weights.

usage: tiny_model.py TOKENIZER_DIR OUT
"""
import array
import json
import pathlib
import random
import shutil
import struct
import sys

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2


def write(tokenizer, out):
    shutil.copytree(tokenizer, out)
    described = json.loads((tokenizer / "tokenizer.json").read_text())
    ids = list(described["model"]["vocab"].values()) + [token["id"] for token in described["added_tokens"]]
    vocabulary = max(ids) + 1
    vocabulary += vocabulary % 2  # bfloat16 weights come in pairs
    (out / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 128, "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float32"}))
    shapes = {"model.embed_tokens.weight": [vocabulary, HIDDEN], "model.norm.weight": [HIDDEN]}
    width = HIDDEN // HEADS
    for layer in range(LAYERS):
        for name, shape in {"input_layernorm": [HIDDEN], "post_attention_layernorm": [HIDDEN],
                            "self_attn.q_proj": [HIDDEN, HIDDEN], "self_attn.k_proj": [KV_HEADS * width, HIDDEN],
                            "self_attn.v_proj": [KV_HEADS * width, HIDDEN], "self_attn.o_proj": [HIDDEN, HIDDEN],
                            "mlp.gate_proj": [INTERMEDIATE, HIDDEN], "mlp.up_proj": [INTERMEDIATE, HIDDEN],
                            "mlp.down_proj": [HIDDEN, INTERMEDIATE]}.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    source, header, data = random.Random(3), {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = array.array("f", [source.gauss(0, 0.05) if len(shape) > 1 else 1.0 for _ in range(count)])
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
