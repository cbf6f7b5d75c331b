#!/usr/bin/env python3
"""A model directory with something wrong in it is refused with one line that names the file and the cause, exit code
1, and nothing of a result; what merely looks unusual runs.

usage: bad_models.py R1C R1C_RUN TOKENIZER_DIR WORK_DIR
"""
import json
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tools" / "inputs"))
import tiny_model  # noqa: E402

r1c, r1c_run, tokenizer, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
(work / "sums.jsonl").write_text('{"question": "1+1=", "answer": "2"}\n' * 4)
MODEL = work / "model"


STEP = """policy actor = load("model")
data sums = jsonl("sums.jsonl", prompt = chat("{question}"), answer = text)
stage look(rounds = 1) {
  o = sample(actor, sums, groups = 2, group_size = 2, max_new_tokens = 2)
  metric length = rollout.mean(o.length)
}
"""


def call(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


def read_weights(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), data[8 + size:]


def write_weights(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def changed_json(name, change):
    """A change to a JSON file of the directory, as a function of the directory."""
    def apply(model):
        content = json.loads((model / name).read_text())
        change(content)
        (model / name).write_text(json.dumps(content))
    return apply


def changed_weights(change):
    def apply(model):
        header, data = read_weights(model / "model.safetensors")
        write_weights(model / "model.safetensors", change(header) or header, data)
    return apply


def truncated(name, keep):
    def apply(model):
        path = model / name
        path.write_bytes(path.read_bytes()[:keep if keep >= 0 else path.stat().st_size + keep])
    return apply


def removed(name):
    return lambda model: (model / name).unlink()


def written(name, text):
    return lambda model: (model / name).write_text(text)


def sharded(lost):
    """Two shards and their index, the second one lost or not."""
    def apply(model):
        header, data = read_weights(model / "model.safetensors")
        (model / "model.safetensors").unlink()
        names, where = [name for name in header if name != "__metadata__"], {}
        for number, part in enumerate((names[:5], names[5:])):
            where.update({name: f"part-{number}.safetensors" for name in part})
            if lost is None or number != lost:
                write_weights(model / f"part-{number}.safetensors", {name: header[name] for name in part}, data)
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return apply


def set_(path, value):
    """Sets content[a][b]... to a value; takes it away if the value is `set_`."""
    def change(content):
        for key in path[:-1]:
            content = content[key]
        if value is set_:
            del content[path[-1]]
        else:
            content[path[-1]] = value
    return change


def tokens(*path_and_value):
    return changed_json("tokenizer.json", set_(path_and_value[:-1], path_and_value[-1]))


NORM = "model.norm.weight"
FIRST = "model.embed_tokens.weight"

# what is done to the directory: the message, with {m} for the directory; read when the policy starts
WRONG = [
    (removed("model.safetensors"), "{m}/model.safetensors: No such file or directory"),
    (truncated("model.safetensors", 0), "{m}/model.safetensors: not a safetensors file"),
    (truncated("model.safetensors", 7), "{m}/model.safetensors: not a safetensors file"),
    (truncated("model.safetensors", 100), "{m}/model.safetensors: not a safetensors file, or a truncated one"),
    (truncated("model.safetensors", -1), "does not lie inside the file"),
    (changed_weights(lambda h: b"{" * 64), "{m}/model.safetensors: header: not valid JSON at byte"),
    (changed_weights(lambda h: b"[1]"), "{m}/model.safetensors: header: must be an object, is array"),
    (changed_weights(set_([NORM], 3)), "{m}/model.safetensors: header.model.norm.weight: must be an object, is number"),
    (changed_weights(set_([NORM], set_)), "{m}: no tensor 'model.norm.weight'"),
    (changed_weights(set_([NORM, "shape"], set_)), "model.norm.weight: 'shape' is missing"),
    (changed_weights(set_([NORM, "shape"], [8, 4])),
     "{m}: tensor 'model.norm.weight' has shape [8,4], the step file was compiled for [32]"),
    (changed_weights(set_([NORM, "shape"], [33])), "tensor 'model.norm.weight' does not lie inside the file"),
    (changed_weights(set_([NORM, "shape"], [-32])), "tensor 'model.norm.weight' has an impossible shape"),
    (changed_weights(set_([NORM, "shape"], ["32"])), "header.model.norm.weight: 'shape' must be a list of integers"),
    (changed_weights(set_([NORM, "dtype"], "I32")),
     "{m}: tensor 'model.norm.weight': the dtype I32 is not one of weights"),
    (changed_weights(set_([NORM, "dtype"], "F8_E4M3")), "tensor 'model.norm.weight' has the unknown dtype F8_E4M3"),
    (changed_weights(set_([NORM, "data_offsets"], [0, 1 << 60])), "does not lie inside the file"),
    (sharded(1), "{m}/part-1.safetensors: No such file or directory"),
    (written("model.safetensors.index.json", "{"), "{m}/model.safetensors.index.json: not valid JSON at byte 2"),
    (written("model.safetensors.index.json", "{}"), "{m}/model.safetensors.index.json: 'weight_map' is missing"),
    (written("model.safetensors.index.json", '{"weight_map": {"a": 1}}'),
     "{m}/model.safetensors.index.json.weight_map: 'a' must be a text, is number"),
    (written("model.safetensors.index.json", '{"weight_map": {"model.norm.weight": "model.safetensors"}}'), None),

    (removed("tokenizer.json"), "{m}/tokenizer.json: No such file or directory"),
    (truncated("tokenizer.json", 1000), "{m}/tokenizer.json: not valid JSON at byte 1001"),
    (written("tokenizer.json", "[]"), "{m}/tokenizer.json: must be an object, is array"),
    (tokens("model", set_), "{m}/tokenizer.json: 'model' is missing"),
    (tokens("model", "type", "Unigram"), "{m}/tokenizer.json: model: a tokenizer of type Unigram; only BPE is known"),
    (tokens("model", "vocab", set_), "{m}/tokenizer.json: model: 'vocab' is missing"),
    (tokens("model", "vocab", {}), "{m}/tokenizer.json: model: the vocabulary spells only 0 single bytes"),
    (tokens("model", "vocab", "a", "b"), "{m}/tokenizer.json: model.vocab: 'a' must be an integer, is string"),
    (tokens("model", "vocab", "a", -1), "{m}/tokenizer.json: model.vocab: the id -1 of 'a' is out of range"),
    (tokens("model", "vocab", "a", 1 << 40), "model.vocab: the id 1099511627776 of 'a' is out of range"),
    (tokens("model", "merges", set_), "{m}/tokenizer.json: model: 'merges' is missing"),
    (tokens("model", "merges", {}), "{m}/tokenizer.json: model: 'merges' must be a list, is object"),
    (tokens("model", "merges", 0, 7), "{m}/tokenizer.json: model: merges[0] is 7, not two entries of a byte-level"),
    (tokens("model", "merges", 1, ["a"]), '{m}/tokenizer.json: model: merges[1] is ["a"], not two entries'),
    (tokens("model", "merges", 1, "zz qq"), "model: merges[1] is \"zz qq\", but the vocabulary lacks one of them"),
    (tokens("model", "byte_fallback", True), "{m}/tokenizer.json: model: 'byte_fallback' is not known"),
    (tokens("model", "dropout", 0.1), "{m}/tokenizer.json: model: 'dropout' is not known"),
    (tokens("model", "end_of_word_suffix", "</w>"), "{m}/tokenizer.json: model: 'end_of_word_suffix' is not known"),
    (tokens("model", "unk_token", "<none>"), "{m}/tokenizer.json: model: the vocabulary has no unk_token '<none>'"),
    (tokens("normalizer", {"type": "Lowercase"}), "normalizer: no normalizer Lowercase; only NFC is known"),
    (tokens("normalizer", 3), "{m}/tokenizer.json: normalizer: must be an object, is number"),
    (tokens("pre_tokenizer", None), "{m}/tokenizer.json: no 'pre_tokenizer'; only byte-level BPE is known"),
    (tokens("pre_tokenizer", {"type": "Whitespace"}), "pre_tokenizer: no pre-tokenizer Whitespace; there are Sequence"),
    (tokens("pre_tokenizer", {"type": "Digits"}), "pre_tokenizer: has no ByteLevel; only byte-level BPE is known"),
    (tokens("pre_tokenizer", "pretokenizers", 0, {"type": "Split", "behavior": "Removed", "pattern": {"Regex": "a"}}),
     "pre_tokenizer.pretokenizers[0]: a Split with behavior Removed is not known"),
    (tokens("pre_tokenizer", "pretokenizers", 0, {"type": "Split", "behavior": "Isolated", "pattern": {"String": "a"}}),
     "pre_tokenizer.pretokenizers[0].pattern: only a 'Regex' is known"),
    (tokens("pre_tokenizer", "pretokenizers", 0, {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(a"}}),
     "pre_tokenizer.pretokenizers[0].pattern: the pattern `(a` is wrong: missing closing parenthesis"),
    (tokens("pre_tokenizer", "pretokenizers", 0,
            {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "\\p{N}{1,3}+"}}),
     "pretokenizers[0].pattern: the pattern `\\p{N}{1,3}+` has a '+' after a count"),
    (tokens("decoder", None), "{m}/tokenizer.json: the 'decoder' is not ByteLevel, the only one known"),
    (tokens("added_tokens", 0, "id", -5), "{m}/tokenizer.json: added_tokens[0]: the id -5 is out of range"),
    (tokens("added_tokens", 0, "content", set_), "{m}/tokenizer.json: added_tokens[0]: 'content' is missing"),
    (tokens("added_tokens", 3), "{m}/tokenizer.json: 'added_tokens' must be a list, is number"),
    (written("generation_config.json", '{"eos_token_id": [2, "x"]}'),
     '{m}/generation_config.json: \'eos_token_id\' is [2,"x"], but the tokenizer has the ids 0 to'),
    (written("generation_config.json", '{"eos_token_id": 100000}'), "'eos_token_id' is 100000, but the tokenizer has"),
    (written("generation_config.json", "{"), "{m}/generation_config.json: not valid JSON at byte 2"),
    (written("tokenizer_config.json", '{"eos_token": 3}'),
     "{m}/tokenizer_config.json: 'eos_token' must be a text, is number"),
    (written("tokenizer_config.json", '{"chat_template": 3}'),
     "{m}/tokenizer_config.json: 'chat_template' must be a text, is number"),
    (written("tokenizer_config.json", "{}"), "{m}: its chat template: is missing; write the prompt as a plain template"),
    (written("chat_template.jinja", "a\n{% if %}"), "{m}: its chat template: line 2: '' is not expected here"),
    (written("chat_template.jinja", "{{ strftime_now('%d') }}"),
     "{m}: its chat template: line 1: it writes today's date, with which no run could be repeated"),
    (written("chat_template.jinja", "{% macro a() %}{% endmacro %}\n{{ a() }}"),
     "{m}: its chat template: line 2: the function 'a' is not known"),
    (written("chat_template.jinja", "{{ raise_exception('no system turn') }}"),
     "{m}: its chat template: line 1: it refuses this: no system turn"),
    (sharded(None), None),
]


# The same, read when the step file is compiled; {at} is the policy's place in it.
WRONG_SHAPE = [
    (removed("config.json"), "{at}: error: no model directory 'model': there is no config.json in it"),
    (written("config.json", "{"), "{at}: error: {m}/config.json: is not JSON: "),
    (written("config.json", "[]"), "{at}: error: {m}/config.json: is not a JSON object"),
    (written("config.json", "{}"), "{at}: error: {m}/config.json: has no 'model_type'"),
    (changed_json("config.json", set_(["hidden_size"], set_)), "{at}: error: {m}/config.json: has no 'hidden_size'"),
    (changed_json("config.json", set_(["model_type"], "gpt2")),
     "{at}: error: {m}/config.json: a model of type 'gpt2' is not supported yet"),
]


def ends_missing(model):
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (model / name).unlink(missing_ok=True)


WRONG.append((ends_missing, "{m}: no file says which token ends a sequence (eos_token_id of generation_config.json)"))


def main():
    (work / "step.r1").write_text(STEP)
    source = work / "source"
    tiny_model.write(tokenizer, source)
    shutil.copytree(source, MODEL)
    compiled = call(r1c, "compile", work / "step.r1", "-o", work / "step.r1x")
    assert compiled.returncode == 0, compiled.stderr
    wrong = 0
    place = {"m": str(MODEL), "at": str(work / "step.r1") + ":1:8"}
    for change, message in [(lambda model: None, None)] + WRONG + WRONG_SHAPE:
        shutil.rmtree(MODEL)
        shutil.copytree(source, MODEL)
        change(MODEL)
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)
        shape = (change, message) in WRONG_SHAPE
        result = call(r1c if shape else r1c_run, *(["run", work / "step.r1"] if shape else [work / "step.r1x"]),
                      "--out", out, "--quiet")
        if message is None:
            problem = result.returncode != 0
        else:
            # One line, or the place in the step file with the line and a caret.
            lines = result.stderr.splitlines()
            for key, value in place.items():
                message = message.replace("{" + key + "}", value)
            problem = (result.returncode != 1 or sum("error: " in line for line in lines) != 1
                       or (len(lines) != 1 and not shape) or message not in lines[0]
                       or (out / "metrics.jsonl").exists())
        if problem:
            wrong += 1
            print(f"wanted: {message}\n  exit code {result.returncode}: {result.stderr.strip()[:600]}")
    print(f"{len(WRONG) + len(WRONG_SHAPE)} directories, {wrong} not as they should be")
    sys.exit(1 if wrong else 0)


main()
