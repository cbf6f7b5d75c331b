"""Prefill and decode of SmolLM2-135M in bfloat16, beside llama.cpp on the same weights.

Prefill: a prompt of 512 tokens. Decode: 128 new tokens after a prompt of 16, one sequence and sixteen of one prompt.
llama.cpp is built here for this CPU and converts the weights itself; of flash attention on and off, and repacked
weights or not, the fastest counts. Its own programs time it: prefill without sampling, decode without it, too.
r1c's times are `seconds/sample` of a step file that only samples: scheduling, prefill of the prompt, sampling with
recorded log-probabilities and texts are in them. The end token of r1c's copy of the directory is one that the
model never says, so that no sequence ends early.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import common

SOURCE = common.WORK / "llama.cpp"
PACKAGE = "llama-cpp-python==0.3.36"  # carries llama.cpp's source
NEW, PROMPT, LONG = 128, 16, 512


def build(source):
    """llama.cpp's benchmarks, built for this CPU."""
    common.WORK.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        common.say("getting llama.cpp's source")
        where = common.WORK / "download"
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                        PACKAGE, "-d", where], check=True)
        package, = where.glob("*.tar.gz")
        subprocess.run(["tar", "xzf", package, "-C", where, "--wildcards", "*/vendor/llama.cpp"], check=True)
        tree, = where.glob("*/vendor/llama.cpp")
        (tree / ".git").unlink(missing_ok=True)
        tree.rename(source)
        shutil.rmtree(where)
    out = source / "build"
    if not (out / "bin" / "llama-batched-bench").exists():
        common.say("building llama.cpp (some minutes)")
        compilers = {"CC": "clang-22", "CXX": "clang++-22"} if shutil.which("clang++-22") else {}
        subprocess.run(["cmake", "-S", source, "-B", out, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                        "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
                        "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"],
                       check=True, stdout=subprocess.DEVNULL, env={**os.environ, **compilers})
        subprocess.run(["ninja", "-C", out, "llama-bench", "llama-batched-bench"], check=True,
                       stdout=subprocess.DEVNULL)
    return out / "bin"


def convert(source, model):
    out = common.WORK / "smollm2-bf16.gguf"
    if not out.exists():
        common.need("torch", "transformers", "sentencepiece")
        subprocess.run([sys.executable, source / "convert_hf_to_gguf.py", model, "--outtype", "bf16", "--outfile", out],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out


def step_files(model):
    """{what: artifact}: prefill, and decode of one and of sixteen."""
    tokenizers, = common.need("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    made = {}
    for what, tokens, new, group in (("prefill", LONG, 1, 1), ("decode 1", PROMPT, NEW, 1), ("decode 16", PROMPT, NEW, 16)):
        words = "One day a small boat left the harbour and nobody on the quay knew where it would go next".split()
        text, i = "Once", 0
        while len(tokenizer.encode(text).ids) < tokens:
            text += " " + words[i % len(words)]
            i += 1
        assert len(tokenizer.encode(text).ids) == tokens, "a word was cut"
        name = what.replace(" ", "")
        (common.WORK / f"{name}.jsonl").write_text(json.dumps({"question": text}) + "\n")
        made[what] = common.compile_step(name, f"""policy actor = load("{model.name}", context = {tokens + new})
data prompts = jsonl("{name}.jsonl", prompt = "{{question}}")
stage roll(rounds = 4) {{
  o = sample(actor, prompts, groups = 1, group_size = {group}, temperature = 1.0, max_new_tokens = {new})
  metric length = rollout.min(o.length)
}}
""", "--weights=bfloat16")
    return made


def ours(artifact, threads, new):
    """Seconds of each round, without the first."""
    lines, _ = common.run_step(artifact, threads)
    for line in lines:
        if line["length"] != new:
            sys.exit(f"a sequence ended after {line['length']} tokens")
    return [line["seconds/sample"] for line in lines[1:]]


def their_prefill(programs, model, threads, flash, repack):
    out, _ = common.run_watched([programs / "llama-bench", "-m", model, "-p", LONG, "-n", 0, "-t", threads, "-fa",
                                 flash, "--repack", repack, "-r", 5, "-o", "json"], 100)
    return [1 / rate * LONG for run in json.loads(out) for rate in run["samples_ts"]]


def their_decode(programs, model, threads, flash, repack):
    out, _ = common.run_watched([programs / "llama-batched-bench", "-m", model, "-c", 4096, "-npp", PROMPT, "-ntg",
                                 NEW, "-npl", "1,16", "-pps", "-t", threads, "-fa", "on" if flash else "off",
                                 "--output-format", "jsonl"] + ([] if repack else ["--no-repack"]), 100)
    return {run["pl"]: run["t_tg"] for run in map(json.loads, filter(lambda l: l.startswith("{"), out.splitlines()))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, default=SOURCE, help="llama.cpp's source tree")
    parser.add_argument("--model", type=pathlib.Path, default=common.WORK / "model", help="SmolLM2-135M's directory")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--build-only", action="store_true")
    options = parser.parse_args()
    programs = build(options.source)
    common.need_model(options.model)
    model = convert(options.source, options.model)
    artifacts = step_files(common.endless(options.model))
    if options.build_only:
        return

    theirs, mine = {}, {}
    for first in [True] + [False] * (options.rounds - 1):
        for threads in options.threads:
            for what, artifact in artifacts.items():
                mine.setdefault((what, threads), []).extend(ours(artifact, threads, 1 if what == "prefill" else NEW))
            for flash in ((1, 0) if first else (1,)):
                # Slower without: once shows it.
                for repack in ((1, 0) if flash else (1,)):
                    way = f"flash {'on' if flash else 'off'}, repack {'on' if repack else 'off'}"
                    times = their_decode(programs, model, threads, flash, repack)
                    seen = {"prefill": their_prefill(programs, model, threads, flash, repack),
                            "decode 1": [times[1]], "decode 16": [times[16]]}
                    for what, seconds in seen.items():
                        theirs.setdefault((what, threads), {}).setdefault(way, []).extend(seconds)

    peak = common.peaks()
    config = json.loads((options.model / "config.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    wide = hidden + 2 * hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    body = layers * hidden * (wide + hidden + 3 * config["intermediate_size"])
    head = hidden * config["vocab_size"]
    rows = []
    for what, goal in (("prefill", 2.0), ("decode 1", 1.3), ("decode 16", 1.5)):
        for threads in options.threads:
            way, seconds = min(theirs[what, threads].items(), key=lambda item: statistics.median(item[1]))
            tokens = LONG if what == "prefill" else NEW * int(what.split()[1])
            own = statistics.median(mine[what, threads])
            if what == "decode 1":  # every weight is read for every token
                share = 2e-9 * (body + head) * NEW / own / peak[f"read {threads}T"]
            else:
                flops = 2e-9 * (body * tokens + head * (1 if what == "prefill" else tokens))
                share = flops / own / peak.get(f"bf16 {threads}T", peak[f"f32 {threads}T"])
            rows.append(common.row(what, f"{threads}T", "tok/s", tokens / statistics.median(seconds), tokens / own,
                                   goal, way=way, share=share))
    version = "?"
    for line in open(options.source / "ggml" / "CMakeLists.txt"):
        for part in ("MAJOR", "MINOR", "PATCH"):
            if line.startswith(f"set(GGML_VERSION_{part} "):
                number = line.split()[1].rstrip(")")
                version = number if part == "MAJOR" else f"{version}.{number}"
    common.report("llama_cpp", f"llama.cpp (ggml {version})", rows, peak=peak, rounds=options.rounds, source=PACKAGE)


if __name__ == "__main__":
    main()
