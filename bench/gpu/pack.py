"""pack.py: makes build/gpu/, all that `./dev gpu` needs where a GPU is and no compiler.

Programs and the shared libraries that a bare machine lacks, kernels and step files compiled, data, and what the CPU gave.
`./dev gpu` builds the targets before.
"""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build"
OUT = BUILD / "gpu"
ARITHMETIC = ROOT / "examples" / "arithmetic"
# The C++ compiler's and the C library's are newer on the other machine.
THERE = re.compile(r"^(ld-linux.*|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|z))\.so")
TARGET = "h200"  # the machine descriptions differ in memory alone
STEPS = 30  # of each stage of examples/arithmetic
LIGER = "liger-kernel==0.8.5"  # a peer that machines with PyTorch do not have, all Python

# name, step file, directory of its data, further options
PROGRAMS = (
    ("arithmetic-f32", ARITHMETIC / "step.r1", ARITHMETIC, ["--chunk-rows", "1024"]),
    ("narrow-bf16", HERE / "narrow.r1", ARITHMETIC, ["--weights", "bfloat16"]),
    ("wide-bf16", HERE / "wide.r1", ARITHMETIC, ["--weights", "bfloat16"]),
    ("qwen3-bf16", HERE / "qwen3.r1", None, []),
    ("train", HERE / "train.r1", None, []),
    ("decode1", HERE / "decode1.r1", None, []),
    ("decode128", HERE / "decode128.r1", None, []),
)


def say(*words):
    print("gpu:", *words, file=sys.stderr, flush=True)


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"gpu: {' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-4000:])
    return done.stdout


def libraries(programs):
    """{soname: path} of what the programs load beyond THERE."""
    found = {}
    for program in programs:
        for line in run("ldd", program).splitlines():
            words = line.split()
            if len(words) >= 3 and words[1] == "=>" and not THERE.match(words[0]):
                found[words[0]] = pathlib.Path(words[2]).resolve()
    return found


def pack_programs():
    programs = [BUILD / "bin" / name for name in ("r1c-run", "runtime_tests", "bench_gpu")]
    archive = OUT / "programs.tar.gz"
    # Tests look for their files beside themselves.
    beside = [BUILD / "lib" / "r1c_fake_cuda.so", BUILD / "lib" / "r1c_test_kernels.so",
              BUILD / "tests" / "runtime" / "kernels.cubin"]
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for path in programs + beside:
            tar.add(path, f"bin/{path.name}")
        for name, path in libraries(programs).items():
            tar.add(path, f"lib/{name}")


def pack_kernels():
    folder = OUT / "kernels"
    folder.mkdir()
    run(sys.executable, HERE / "cases.py", folder)
    report = run(BUILD / "bin" / "r1c-kernels", folder / "kernels.mlir", "-o", folder / "kernels.cubin", "--target=sm_90a",
                 f"--launches={folder / 'launches.json'}")
    (folder / "usage.txt").write_text(report)


def pack_data(data):
    """Texts of 100 ASCII letters, and sequences of 1025 tokens: the same at every call."""
    data.mkdir()
    draw = random.Random(0)
    with open(data / "prompts.jsonl", "w") as file:
        for _ in range(64):
            text = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz    ") for _ in range(100))
            file.write(json.dumps({"question": text, "answer": "x"}) + "\n")
    with open(data / "train.jsonl", "w") as file:
        for _ in range(16):
            ids = [draw.randrange(151936) for _ in range(1025)]
            file.write(json.dumps({"p": ids[:1], "c": ids[1:]}) + "\n")
    for name in ("qwen2", "qwen3"):
        shutil.copytree(HERE / name, data / name)


def pack_liger():
    """Unpacked: Triton reads its kernels' source. A virtual environment, as Debian's Python has no pip of its own."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            venv.create(folder, with_pip=True)
            subprocess.run([f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                            "--no-deps", "--no-compile", "--only-binary=:all:", "--retries=1", f"--target={OUT / 'peers'}",
                            LIGER], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            say(f"going on without {LIGER}: {why}")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    data = OUT / "data"
    pack_data(data)
    say("Liger")
    pack_liger()
    say("programs")
    pack_programs()
    say("kernels")
    pack_kernels()
    for name, source, base, options in PROGRAMS:
        say("compiling", name)
        # A step file's models are looked for beside it.
        copy = data / source.name
        if base is None:
            shutil.copy(source, copy)
            source = copy
        run(BUILD / "bin" / "r1c", "compile", source, "-o", OUT / f"{name}.r1x", "--target", TARGET, *options)
    say("what the CPU gives for arithmetic-f32")
    host = OUT / "host"
    run(BUILD / "bin" / "r1c", "compile", ARITHMETIC / "step.r1", "-o", OUT / "host.r1x", "--chunk-rows", "1024")
    run(BUILD / "bin" / "r1c-run", OUT / "host.r1x", "--base", ARITHMETIC, "--out", host, "--steps", STEPS, "--quiet")
    shutil.move(host / "metrics.jsonl", OUT / "expected.jsonl")
    shutil.rmtree(host)
    (OUT / "host.r1x").unlink()
    git = lambda *words: run("git", "-C", ROOT, *words).strip()
    commit = git("rev-parse", "--short", "HEAD")
    if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"):
        commit += "+changes"
    # Last: a package without it is unfinished.
    (OUT / "package.json").write_text(json.dumps({"commit": commit, "steps": STEPS}))
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"build/gpu/: {size / 1e6:.1f} MB. With this tree on a machine with a GPU, `./dev gpu` runs it there; that needs"
          " an NVIDIA driver of CUDA 13, bash and Python with NumPy (for the peers PyTorch and transformers).")
    if size > 40e6:
        sys.exit("gpu: more than 40 MB: something large has got in")


if __name__ == "__main__":
    main()
