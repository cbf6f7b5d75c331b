"""Attention, forward and backward, beside PyTorch's flash attention for the CPU.

1024 tokens as one sequence and as four; SmolLM2's heads (9, of which 3 for keys and values) and GPT-2's (12 and 12),
of 64. PyTorch has every sequence in a batch of its own, so it pads nothing; it may lay heads or rows outermost, and
repeat keys and values or not, and its fastest way counts. Both forwards leave what their backward needs.
"""

import argparse

import common

torch, = common.need("torch")
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

WIDTH = 64


def variants(sequences, length, heads, kv_heads, dtype):
    """{way: (forward, backward)}"""
    ways = {}
    for layout in ("rows", "heads"):
        def tensor(count):
            x = torch.randn(sequences, length, count, WIDTH, dtype=dtype).transpose(1, 2)
            return (x.contiguous() if layout == "heads" else x).requires_grad_()
        q, k, v, g = tensor(heads), tensor(kv_heads), tensor(kv_heads), tensor(heads).detach()
        for repeat in ([False, True] if heads != kv_heads else [False]):
            def forward(q=q, k=k, v=v, repeat=repeat):
                if repeat:
                    k, v = (x.repeat_interleave(heads // kv_heads, 1) for x in (k, v))
                with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                    return scaled_dot_product_attention(q, k, v, is_causal=True,
                                                        enable_gqa=k.shape[1] != heads)
            out = forward()
            ways[layout + (", repeated" if repeat else "")] = (
                forward, lambda out=out, of=(q, k, v), g=g: torch.autograd.grad(out, of, g, retain_graph=True))
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["f32"], choices=["f32", "bf16"])
    options = parser.parse_args()
    torch.manual_seed(1)

    cases = {}
    for dtype in options.dtypes:
        for threads in options.threads:
            for sequences, length in ((1, 1024), (4, 256)):
                for heads, kv_heads in ((9, 3), (12, 12)):
                    ways = variants(sequences, length, heads, kv_heads,
                                    torch.float32 if dtype == "f32" else torch.bfloat16)
                    for i, direction in enumerate(("forward", "backward")):
                        name = f"{direction} {dtype} {threads}T {sequences}x{length} {heads}/{kv_heads}"
                        cases[name] = (threads, {way: calls[i] for way, calls in ways.items()})

    theirs, ours = {}, {}
    pattern = f"({'|'.join(options.dtypes)}) ({'|'.join(map(str, options.threads))})T"
    for _ in range(options.rounds):
        for name, run in common.google_benchmark("bench_attention", pattern).items():
            if name not in ours or run["seconds"] < ours[name]["seconds"]:
                ours[name] = run
        for name, (threads, ways) in cases.items():
            torch.set_num_threads(threads)
            for way, call in ways.items():
                best = theirs.get(name, (1e9, ""))
                theirs[name] = min(best, (common.mean_seconds(call), way))

    peak = common.peaks()
    rows = []
    for name, (seconds, way) in theirs.items():
        direction, dtype, threads, shape = name.split(" ", 3)
        rows.append(common.row(f"attention {direction} {dtype}", f"{threads} {shape}", "s", seconds,
                               ours[name]["seconds"], 1.5, way=way,
                               share=ours[name]["GF/s"] / peak.get(f"{dtype} {threads}", peak[f"f32 {threads}"])))
    common.report("attention", f"PyTorch {torch.__version__}", rows, peak=peak, rounds=options.rounds)


if __name__ == "__main__":
    main()
