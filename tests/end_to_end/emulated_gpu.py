#!/usr/bin/env python3
"""Whole runs compiled for a GPU, without one: the runtime on a stand-in for the driver (tests/runtime/FakeCuda.cpp), behind
which the compiler's interpreter runs the kernels (compiler/target/cuda/emulate).

usage: emulated_gpu.py R1C R1C_RUN FAKE_CUDA EMULATOR WORK_DIR --steps STEPS_DIR     the language's own programs, in float32
       emulated_gpu.py R1C R1C_RUN FAKE_CUDA EMULATOR WORK_DIR [MPIRUN FAKE_NCCL]   a small one, in both types; some models

What tests of single kernels do not see: whether the schedule gives each kernel what it needs, whatever is recorded, copied,
packed, rounded and reduced between them. In float32 a run is the CPU's, bit for bit. In bfloat16 sums have another order:
numbers are near the CPU's, and the log-probabilities that are sampled are those that are trained on, bit for bit.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import run_steps

STEP = """
import losses
import advantages

policy actor     = {policy}
policy reference = actor

data worked = jsonl("sums.jsonl", prompt = "{{question}}", completion = "{{answer}}")
data sums   = jsonl("sums.jsonl", prompt = "{{question}}", answer = text)

stage supervised(steps = 3) {{
  o = read(worked, groups = 4)
  update(actor, losses.likelihood(actor, o), adamw(lr = 1e-2, clip_norm = 1.0))
}}

stage reason(rounds = 2) {{
  reference := actor
  o         = sample(actor, sums, groups = 2, group_size = 3, temperature = 1.0, max_new_tokens = 3)
  score     = equal(o.text, o.answer) + 0.1 * o.length
  advantage = advantages.zscore(score)
  loss mine {{
    lp = logp(actor, o)
    minimize -batch.mean(exp(lp - o.logp) * token(advantage) - 0.1 * losses.k3(lp, logp(reference, o)))
  }}
  update(actor, mine, adamw(lr = 1e-2, clip_norm = 1.0), minibatches = 2)
}}
"""
LLAMA = ("llama(layers = 2, hidden = 64, heads = 2, kv_heads = 1, head_dim = 64, intermediate = 96, context = 16, "
         'tokenizer = characters("0123456789+=-"))')
# Biases and a head of its own; norms of queries and keys, and the embedding as head.
MODELS = {"qwen2": {"tie_word_embeddings": False}, "qwen3": {"tie_word_embeddings": True, "head_dim": 64}}
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
         "vocab_size": 320, "max_position_embeddings": 64}
# Between orders of sums in bfloat16, whose numbers have a relative error of 0.004: 0.0003 is found at the first update, and up to
# 0.014 where six large steps of the optimizer lie between. A wrong weight is beyond it at the first.
NEAR = 0.02

r1c, r1c_run, fake_cuda, emulator = map(os.path.abspath, sys.argv[1:5])
work = pathlib.Path(sys.argv[5]).resolve()
source = pathlib.Path(__file__).resolve().parents[2]


def call(command, **more):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, **{"cwd": work} | more)
    assert result.returncode == 0, f"{command}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result


def compile_for(name, policy, weights):
    """Artifacts for a CPU, and for a GPU with what the interpreter reads beside it. Matrix tiles of a CPU add in an order of their own."""
    (work / f"{name}.r1").write_text(STEP.format(policy=policy))
    options = [f"--weights={weights}", "--chunk-rows=1024"]
    call([r1c, "compile", f"{name}.r1", "-o", f"{name}-cpu.r1x", "--cpu=native,-amx-bf16", *options])
    call([r1c, "compile", f"{name}.r1", "-o", f"{name}.r1x", "--target=h100", f"--dump-phases-to={name}-dumps", *options])


def environment(dumps):
    return os.environ | {"R1C_LIBCUDA": fake_cuda, "R1C_EMULATOR": emulator, "R1C_EMULATED": str(dumps / "6-schedule.mlir")}


def on_cpu(name):
    call([r1c_run, f"{name}-cpu.r1x", "--out", f"{name}-cpu", "--seed", 3, "--quiet"])
    return metrics_of(f"{name}-cpu")


def on_gpu(name, out, *options, launcher=(), more={}):
    call([*launcher, r1c_run, f"{name}.r1x", "--out", out, "--seed", 3, "--quiet", *options], env=environment(work / f"{name}-dumps") | more)
    return metrics_of(out)


def metrics_of(out):
    lines = [json.loads(line) for line in (work / out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith(("seconds", "all_reduce/"))} for line in lines]


def same_files(one, other, *names):
    for name in names:
        assert (work / one / name).read_bytes() == (work / other / name).read_bytes(), f"{name} differs in {one} and {other}"


def near(gpu, cpu):
    """Losses and gradients, as long as both have drawn the same tokens. A loss of policy gradients may be 0: those errors count
    as of a tenth, for advantages are of the order of 1."""
    compared = 0
    for mine, other in zip(gpu, cpu):
        if mine["tokens"] != other["tokens"]:
            break
        for key in ("loss", "grad_norm"):
            assert abs(mine[key] - other[key]) <= NEAR * max(abs(other[key]), 0.1), f"{key}: {mine} for {other}"
        compared += 1
    assert compared >= 4, f"only {compared} updates to compare"


def on_policy(metrics):
    """Of each round's first update."""
    seen = [line["ratio/max_deviation"] for line in metrics if line["stage"] == "reason" and line["step"] % 2]
    assert seen == [0.0, 0.0], seen


def float32():
    compile_for("f32", LLAMA, "float32")
    cpu, gpu = on_cpu("f32"), on_gpu("f32", "f32-gpu")
    assert gpu == cpu, f"{gpu}\n{cpu}"
    same_files("f32-gpu", "f32-cpu", "samples.jsonl", "actor/model.safetensors")


def bfloat16():
    compile_for("bf16", LLAMA, "bfloat16")
    whole = on_gpu("bf16", "bf16-gpu", "--checkpoint-every", 1)
    on_policy(whole)
    near(whole, on_cpu("bf16"))
    # What the optimizer rounded is what is rounded again from a checkpoint: the last but one, as if the last round had not been.
    shutil.copytree(work / "bf16-gpu", work / "bf16-resumed")
    last = max((work / "bf16-resumed" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)
    assert on_gpu("bf16", "bf16-resumed", "--checkpoint-every", 1, "--resume") == whole
    same_files("bf16-gpu", "bf16-resumed", "samples.jsonl", "actor/model.safetensors")


def odd():
    """Lines that are no multiple of 16 bytes, which tensor copies do not take, and matrices of no whole lines of 64."""
    compile_for("odd", "llama(layers = 2, hidden = 12, heads = 6, kv_heads = 3, intermediate = 20, context = 16, "
                       'tokenizer = characters("0123456789+=-"))', "bfloat16")
    gpu = on_gpu("odd", "odd-gpu")
    on_policy(gpu)
    near(gpu, on_cpu("odd"))


def model(name):
    config = json.loads((source / "bench" / "gpu" / name / "config.json").read_text()) | SIZES | MODELS[name]
    small = work / f"{name}-config"
    small.mkdir()
    for file in (source / "bench" / "gpu" / name).glob("tokenizer*.json"):
        shutil.copy(file, small)
    (small / "config.json").write_text(json.dumps(config))
    call([sys.executable, source / "bench" / "gpu" / "make_model.py", small, work / f"{name}-model"])
    compile_for(name, f'load("{name}-model", context = 32)', "bfloat16")
    gpu = on_gpu(name, f"{name}-gpu")
    on_policy(gpu)
    near(gpu, on_cpu(name))


def program(file):
    """Some updates of a program of the language, made small: GPU and CPU agree in every number."""
    folder = work / file.stem
    folder.mkdir()
    text = run_steps.shrink(file.read_text())
    (folder / "step.r1").write_text(text)
    run_steps.write_data(text, folder)
    run = ["--steps", 3, "--quiet", "--checkpoint-every", 0]
    call([r1c, "compile", "step.r1", "-o", "cpu.r1x"], cwd=folder)
    call([r1c, "compile", "step.r1", "-o", "gpu.r1x", "--target=h100", "--dump-phases-to=dumps", "--chunk-rows=1024"], cwd=folder)
    call([r1c_run, "cpu.r1x", "--out", "cpu", *run], cwd=folder)
    call([r1c_run, "gpu.r1x", "--out", "gpu", *run], cwd=folder, env=environment(folder / "dumps"))
    cpu, gpu = metrics_of(folder / "cpu"), metrics_of(folder / "gpu")
    assert cpu == gpu, f"{cpu}\n{gpu}"
    assert any(line["grad_norm"] > 0 for line in cpu), "nothing to learn from"
    same_files(folder / "cpu", folder / "gpu", "samples.jsonl")


def ranks(mpirun, fake_nccl):
    two = on_gpu("bf16", "bf16-ranks", launcher=[mpirun, "--allow-run-as-root", "--oversubscribe", "-n", 2],
                 more={"R1C_LIBNCCL": fake_nccl, "R1C_FAKE_DEVICES": "2"})
    on_policy(two)
    near(two, metrics_of("bf16-gpu"))


def main():
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "sums.jsonl").write_text("".join(json.dumps({"question": f"{a}+{b}=", "answer": str(a + b)}) + "\n"
                                             for a in range(4) for b in range(4)))
    if sys.argv[6:7] == ["--steps"]:
        cases = {file.stem: lambda file=file: program(file) for file in sorted(pathlib.Path(sys.argv[7]).glob("*.r1"))
                 if file.stem not in run_steps.REFUSED}
        assert len(cases) > 15, cases
    else:
        cases = {"float32": float32, "bfloat16": bfloat16, "odd sizes": odd} | {name: lambda name=name: model(name) for name in MODELS}
        if len(sys.argv) > 7:
            cases["two GPUs"] = lambda: ranks(sys.argv[6], os.path.abspath(sys.argv[7]))
    for name, case in cases.items():
        case()
        print(f"ok {name}", flush=True)


if __name__ == "__main__":
    main()
