"""The head of SmolLM2 with GRPO's clipped ratio, forward and backward, beside PyTorch with full logits.

512 tokens, 576 wide, vocabulary 49152: the last norm, log-probabilities of the targets, the loss, its gradients to
the hidden states, the norm and the weights. PyTorch: eager, compiled, and compiled with max-autotune; the fastest
counts, and its own extra memory beside its time: how far a step raises the largest resident size above what holds
inputs and gradients, in a process of its own. r1c: bench_head, the kernels of the same functions that a step runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import common

ROWS, HIDDEN, VOCABULARY = 512, 576, 49152
WAYS = ("eager", "compiled", "max-autotune")


def make(torch, dtype, way):
    """One step: the gradients of all parameters."""
    f = torch.nn.functional
    kind = torch.float32 if dtype == "f32" else torch.bfloat16
    torch.manual_seed(1)
    hidden = torch.randn(ROWS, HIDDEN, requires_grad=True)
    norm = torch.ones(HIDDEN, requires_grad=True)
    weight = (torch.randn(VOCABULARY, HIDDEN) * 0.1).to(kind).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (ROWS,))
    old, advantage = torch.randn(ROWS), torch.randn(ROWS)

    def loss(hidden, norm, weight):
        logits = f.linear(f.rms_norm(hidden, (HIDDEN,), norm, 1e-5).to(kind), weight)
        logp = f.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]
        ratio = torch.exp(logp - old)
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    with torch.no_grad():  # ratios near one
        old += f.log_softmax(f.linear(f.rms_norm(hidden, (HIDDEN,), norm, 1e-5).to(kind), weight).float(),
                             -1).gather(1, targets[:, None])[:, 0] - old * 0.9
    if way != "eager":
        loss = torch.compile(loss, mode=None if way == "compiled" else "max-autotune")
    return lambda: torch.autograd.grad(loss(hidden, norm, weight), (hidden, norm, weight))


def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))


def child(torch, dtype, way, rounds):
    """Answers each line with the seconds of some steps; the first answer is the extra memory."""
    step = make(torch, dtype, way)
    for _ in range(3):
        gradients = step()
    size = sum(g.numel() * g.element_size() for g in gradients)
    del gradients
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    before = status("VmRSS:")
    gradients = step()
    print(json.dumps({"extra": status("VmHWM:") - before - size}), flush=True)
    del gradients
    for _ in sys.stdin:
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            step()
            took.append(time.perf_counter() - start)
        print(json.dumps(took), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(common.WORK / "inductor"))
    torch, = common.need("torch")
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    if options.child:
        return child(torch, *options.child, 5)

    peak, rows = common.peaks(), []
    for dtype in options.dtypes:
        children = {way: subprocess.Popen([sys.executable, __file__, "--child", dtype, way], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, text=True) for way in options.ways}
        extra, theirs, mine, own_extra = {}, {}, [], []
        for way, process in children.items():
            start = time.perf_counter()
            line = process.stdout.readline()
            if not line:
                sys.exit(f"PyTorch, {way}, ended")
            extra[way] = json.loads(line)["extra"]
            common.say(f"{dtype} {way}: ready in {time.perf_counter() - start:.0f} s")
        for _ in range(options.rounds):
            out, _ = common.run_watched([common.need_binary("bench_head"), dtype, ROWS, HIDDEN, VOCABULARY, threads, 5],
                                        100)
            run = json.loads(out)
            mine += run["seconds"]
            own_extra.append(run["extra"])
            for way, process in children.items():
                print(file=process.stdin, flush=True)
                theirs.setdefault(way, []).extend(json.loads(process.stdout.readline()))
        for process in children.values():
            process.stdin.close()
            process.wait(60)
        way, seconds = min(theirs.items(), key=lambda item: statistics.median(item[1]))
        own = statistics.median(mine)
        flops = 6e-9 * ROWS * HIDDEN * VOCABULARY  # three products; what is computed twice does not count
        case = f"{threads}T {ROWS}x{HIDDEN}x{VOCABULARY}"
        rows.append(common.row(f"head {dtype}", case, "s", statistics.median(seconds), own, 1.5, way=way,
                               share=flops / own / peak.get(f"{dtype} {threads}T", 1e9),
                               ways={w: statistics.median(s) for w, s in theirs.items()}))
        rows.append(common.row(f"head {dtype}, memory", case, "MiB", extra[way] / 2**20, max(own_extra) / 2**20, 5.0,
                               way=way, ways={w: e / 2**20 for w, e in extra.items()}))
    common.report("head", f"PyTorch {torch.__version__}", rows, peak=peak, rounds=options.rounds)


if __name__ == "__main__":
    main()
