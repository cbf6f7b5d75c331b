#!/usr/bin/env python3
"""Tokenizers of the runtime against `tokenizers`, the library of Hugging Face: the same ids and the same decoded text.

SmolLM2's own, and small ones that are trained here with the settings of other model families.

usage: compare.py TOKENIZE SMOLLM2_DIR WORK_DIR
"""
import json
import pathlib
import shutil
import subprocess
import sys

import texts
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
CONTROL = [AddedToken(content, special=True, normalized=False)
           for content in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
# Each flag that an added token can have, alone and together.
FLAGS = [AddedToken("<tool>", normalized=False), AddedToken("<tool2>", normalized=True),
         AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True, normalized=False),
         AddedToken("<both>", lstrip=True, rstrip=True, special=True), AddedToken("word", single_word=True),
         AddedToken("café", normalized=True), AddedToken("éword", normalized=False)]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert)


def byte_level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


# name: (pre-tokenizer, normalizer, settings of the model)
KINDS = {
    "gpt2": (byte_level(), None, {}),
    "gpt2-prefix-space": (byte_level(prefix=True), None, {}),
    "smollm": (sequence(pre_tokenizers.Digits(individual_digits=True), byte_level()), None, {}),
    "digits-prefix-space": (sequence(pre_tokenizers.Digits(individual_digits=False), byte_level(prefix=True)), None, {}),
    "llama3": (sequence(split(LLAMA3), byte_level(regex=False)), None, {"ignore_merges": True}),
    "qwen": (sequence(split(QWEN), byte_level(regex=False)), normalizers.NFC(), {}),
    "removed-inverted": (sequence(split(LLAMA3, "removed", True), byte_level(regex=False)),
                         normalizers.Sequence([normalizers.NFC()]), {}),
    "some-bytes": (byte_level(), None, {"alphabet": "printable"}),
    "some-bytes-unknown": (byte_level(), None, {"alphabet": "printable", "unk_token": "<|endoftext|>"}),
}


def train(pre_tokenizer, normalizer, settings):
    settings = dict(settings)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if settings.pop("alphabet", None):
        alphabet = [c for c in alphabet if ord(c) < 0x100 or c in "ĠĊ"]
    ignore_merges = settings.pop("ignore_merges", False)
    tokenizer = Tokenizer(models.BPE(**settings))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=CONTROL, initial_alphabet=alphabet,
                                  limit_alphabet=len(alphabet), show_progress=False)
    tokenizer.train_from_iterator(texts.corpus(7), trainer)
    tokenizer.add_tokens(FLAGS)
    tokenizer.add_special_tokens(FLAGS[4:5])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    if ignore_merges:
        described = json.loads(tokenizer.to_str())
        described["model"]["ignore_merges"] = True
        # An entry that no merge leads to is found whole.
        described["model"]["vocab"]["Ġunmergeable"] = len(described["model"]["vocab"]) + len(FLAGS)
        tokenizer = Tokenizer.from_str(json.dumps(described))
    return tokenizer


def compare(name, tokenize, directory, count):
    original = Tokenizer.from_file(str(directory / "tokenizer.json"))
    asked = texts.texts(1, count) + texts.every_character()
    result = subprocess.run([tokenize, str(directory)], input="".join(json.dumps(text) + "\n" for text in asked),
                            capture_output=True, text=True)
    assert result.returncode == 0, f"{name}: {result.stderr}"
    tokens = 0
    for text, line in zip(asked, result.stdout.split("\n")):
        answer = json.loads(line)
        ids = original.encode(text, add_special_tokens=False).ids
        tokens += len(ids)
        assert answer.get("ids") == ids, f"{name}: {text!r} gives {answer}, wanted are the ids {ids}"
        decoded = original.decode(ids)
        assert answer["text"] == decoded, f"{name}: {text!r} decodes to {answer['text']!r}, wanted is {decoded!r}"
    print(f"{name}: {len(asked)} texts, {tokens} tokens, all equal")


def main():
    tokenize, smollm2, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    shutil.rmtree(work, ignore_errors=True)
    compare("SmolLM2", tokenize, smollm2, 6000)
    for name, (pre_tokenizer, normalizer, settings) in KINDS.items():
        directory = work / name
        directory.mkdir(parents=True)
        train(pre_tokenizer, normalizer, settings).save(str(directory / "tokenizer.json"))
        (directory / "generation_config.json").write_text('{"eos_token_id": 2}')
        compare(name, tokenize, directory, 1500)


main()
