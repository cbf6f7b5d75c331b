#!/usr/bin/env python3
"""Compiles the language's own programs and the examples for a GPU, which need not be there.

usage: compile_cuda.py R1C STEPS_DIR EXAMPLES_DIR WORK_DIR [NAME...]

Every kernel must become part of a cubin without a warning of ptxas (C75xx: matrix products that wait for each other),
without spills, and in the registers and the shared memory that its launch leaves it. Sizes are small, but such that every kind of kernel is
there: heads of 64 for the tensor cores, and once a real vocabulary. Then attention alone, with other numbers of heads to a key head.
"""
import json
import pathlib
import re
import subprocess
import sys
import zipfile

import run_steps

POLICY = run_steps.POLICY.replace("hidden = 32", "hidden = 256").replace("intermediate = 64", "intermediate = 512")
REGISTERS = 65536  # of a multiprocessor
SHARED = 228 * 1024  # bytes, likewise; each block takes 1024 more than it asks for


def problems_of(artifact):
    with zipfile.ZipFile(artifact) as file:
        names = file.namelist()
        manifest = json.loads(file.read("manifest.json"))
        if "kernels.cubin" not in names or file.read("kernels.cubin")[:4] != b"\x7fELF":
            return ["no cubin"], 0
    if manifest["target"] != {"kind": "cuda", "cpu": "sm_90a", "features": "h800"}:
        return [f"target {manifest['target']}"], 0
    problems = []
    kernels = manifest["kernels"]
    # What few rows take instead, where it is another kernel.
    others = [{"name": other["symbol"]} | other for kernel in kernels for other in kernel["launch"].get("few_rows", ())
              if "usage" in other]
    for kernel in kernels + others:
        usage, launch = kernel["usage"], kernel["launch"]
        if usage["spilled"]:
            problems.append(f"{kernel['name']} spills {usage['spilled']} bytes")
        if not 0 < usage["registers"] * launch["threads"] * launch["blocks_per_sm"] <= REGISTERS:
            problems.append(f"{kernel['name']} takes {usage['registers']} registers, and {launch['blocks_per_sm']} "
                            f"blocks of {launch['threads']} threads are to fit")
        shared = launch.get("shared", 0) + usage["shared"]
        if (shared + 1024) * launch["blocks_per_sm"] > SHARED:
            problems.append(f"{kernel['name']} takes {shared} bytes of shared memory, and {launch['blocks_per_sm']} "
                            f"blocks are to fit")
    return problems, len(manifest["kernels"])


def check(r1c, step, artifact, weights):
    result = subprocess.run([r1c, "compile", step, "--target=h800", f"--weights={weights}", "-o", artifact],
                            capture_output=True, text=True, timeout=300)
    if step.parent.name in run_steps.REFUSED:
        words = run_steps.REFUSED[step.parent.name]
        refused = result.returncode == 1 and words in result.stderr
        return [] if refused else [f"must be refused with '{words}': {result.stderr[-600:]}"], 0
    if result.returncode or result.stderr:
        return [f"exit code {result.returncode}: {result.stderr[-800:]}"], 0
    problems, count = problems_of(artifact)
    inspected = subprocess.run([r1c, "inspect", artifact], capture_output=True, text=True, timeout=60)
    # Every product passes its operands through shared memory.
    products = re.findall(r"^  matmul_.* (\S+ \S+) shared", inspected.stdout, re.M)
    if not products or "0.0 B" in products:
        problems.append(f"inspect shows shared memory of products as {products}")
    return problems, count


def attention(heads, key_heads, width, shares):
    """The text of a kernel, named after what it is."""
    q, k, lse, index = (f"tensor<?x{heads * width}xbf16>", f"tensor<?x{key_heads * width}xbf16>", f"tensor<?x{heads}xf32>", "tensor<?xi32>")
    name = f"heads_{heads}_{key_heads}_{width}" + ("_of_a_group" if shares else "")
    return f"""func.func @{name}(%q: {q}, %k: {k}, %v: {k}, %p: {index}, %b: {index}{f', %s: {index}, %c: {index}' if shares else ''}) -> ({q}, {lse}) attributes {{kern.kernel}} {{
  %0:2 = kern.attention %q, %k, %v at %p from %b{' shared %s from %c' if shares else ''} {{{'' if shares else 'cached, '}heads = {heads}, kv_heads = {key_heads}, scale = 0.125 : f32}}
    : {q}, {k}, {k}, {index}, {index}{f' shared {index} from {index}' if shares else ''} -> {q}, {lse}
  return %0#0, %0#1 : {q}, {lse}
}}
"""


def check_attention(r1c, work):
    """How many heads share a key head says how rows fall into tiles; where it is no power of two, that takes divisions."""
    cases = [(heads, key_heads, width, shares)
             for heads, key_heads in ((6, 2), (5, 1), (14, 2), (12, 1), (8, 1)) for width in (64, 128) for shares in (True, False)]
    # Of a cache there is another one for few rows, and of heads of 64 a third one for very few.
    count = sum(1 if shares else 3 if width == 64 else 2 for _, _, width, shares in cases)
    (work / "attention.mlir").write_text("".join(attention(*case) for case in cases))
    result = subprocess.run([pathlib.Path(r1c).parent / "r1c-kernels", work / "attention.mlir", "-o", work / "attention.cubin",
                             "--target=sm_90a"], capture_output=True, text=True, timeout=300)
    lines = (result.stdout + result.stderr).splitlines()
    problems = [line for line in lines if ", 0 bytes spilled" not in line]
    if result.returncode or len(lines) != count:
        problems.append(f"exit code {result.returncode}, {len(lines)} lines for {count} kernels")
    return problems, count


def main():
    r1c, steps, examples, work = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
    wanted = sys.argv[5:]
    run_steps.POLICY = POLICY
    runs = []
    for source in sorted(steps.glob("*.r1")):
        folder = work / source.stem
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "step.r1").write_text(run_steps.shrink(source.read_text()))
        runs.append((source.stem, folder / "step.r1", "bfloat16"))
    runs.append(("arithmetic", examples / "arithmetic" / "step.r1", "float32"))
    # Heads too wide for a thread to hold a query in registers; products over so few columns that no loop is left of them.
    for width, hidden in ((80, 256), (128, 256), (256, 256), (6, 24)):
        step = work / f"heads{width}.r1"
        text = (examples.parent / "bench" / "gpu" / "wide.r1").read_text()
        step.write_text(text.replace("context = 32", f"context = 32, head_dim = {width}")
                        .replace("hidden = 256", f"hidden = {hidden}"))
        runs.append((step.stem, step, "float32"))
    # Rows that just fit into a warp's registers, or no longer do.
    for hidden in (512, 896, 1024):
        for weights in ("float32", "bfloat16"):
            step = work / f"hidden{hidden}-{weights}.r1"
            shape = f"layers = 1, hidden = {hidden}, heads = 2, kv_heads = 1, head_dim = 8, intermediate = 64, context = 32, vocabulary = 14"
            step.write_text(re.sub(r"llama\(.*?\)\)", f'llama({shape}, tokenizer = "none")',
                                   (examples / "arithmetic" / "step.r1").read_text(), count=1, flags=re.S))
            runs.append((step.stem, step, weights))
    # Norms of queries and keys; a vocabulary of hundreds of chunks.
    for name in ("qwen3", "decode1"):
        runs.append((name, examples.parent / "bench" / "gpu" / f"{name}.r1", "bfloat16"))
    # Llama's shape: many heads 128 wide, and a vocabulary whose chunks no loop takes evenly.
    step = work / "llama.r1"
    shape = "layers = 1, hidden = 4096, heads = 32, kv_heads = 8, intermediate = 14336, context = 2048, vocabulary = 128256"
    step.write_text(re.sub(r"llama\(.*?\)\)", f'llama({shape}, tokenizer = "none")', (examples / "arithmetic" / "step.r1").read_text(),
                           count=1, flags=re.S))
    runs.append((step.stem, step, "bfloat16"))
    runs.append(("attention", None, "bfloat16"))
    failed = kernels = 0
    for name, step, weights in runs:
        if wanted and name not in wanted:
            continue
        if name == "attention":
            problems, count = check_attention(r1c, work)
        else:
            problems, count = check(r1c, step, work / f"{name}.r1x", weights)
        kernels += count
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok    '} {name} ({count} kernels, {weights})", flush=True)
        for problem in problems:
            print(f"  {problem}")
    assert wanted or kernels > 1000, kernels
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
