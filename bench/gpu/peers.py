"""peers.py PART [WAY]: one peer on a GPU, measured when it is asked to.

Prepares (imports, compiles, warms up), prints {"ready": ...}; then, for each line on standard input, measures once and
prints {"NAME": seconds, ...} or {"error": ...}. So several can compile at a time, before anything is measured.

PART: products, head, train, decode; WAY as in WAYS.
"""

import json
import os
import pathlib
import statistics
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
LIGER = HERE.parents[1] / "build" / "gpu" / "peers"  # where pack.py puts it
WAYS = {"products": [""], "head": ["compiled", "plain", "liger-grpo", "liger-ce", "liger-fused"],
        "train": ["master", "autocast"], "decode": ["1", "128"]}
PROMPT, NEW = 100, 128  # tokens of the peer's decoding
TOKENS, LENGTH = 16384, 1024  # of a training step, and of a sequence of it
ROTATED = 256 << 20  # bytes over which inputs are rotated: several second-level caches


def timed(torch, calls, rounds=5, least=0.02):
    """Median of the seconds of one call, of `calls` in turn, device time between events."""
    def once(count):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(count):
            calls[i % len(calls)]()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / count

    once(len(calls))
    count = max(len(calls), min(400, int(least / once(len(calls)))))
    count = (count + len(calls) - 1) // len(calls) * len(calls)
    return statistics.median(once(count) for _ in range(rounds))


def graphed(torch, calls, rounds=5, least=0.02):
    """As `timed`, in a CUDA graph: what is short is not measured by its launches."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls:
            call()
        stream.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record(stream)
        for call in calls:
            call()
        end.record(stream)
        stream.synchronize()
        once = begin.elapsed_time(end) * 1e-3 / len(calls)
        count = max(len(calls), min(400, int(least / once)))
        count = (count + len(calls) - 1) // len(calls) * len(calls)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for i in range(count):
                calls[i % len(calls)]()
        graph.replay()
        stream.synchronize()
        seconds = []
        for _ in range(rounds):
            begin.record(stream)
            graph.replay()
            end.record(stream)
            stream.synchronize()
            seconds.append(begin.elapsed_time(end) * 1e-3 / count)
        return statistics.median(seconds)


def products(torch, _):
    """cuBLAS and scaled_dot_product_attention on the cases of cases.py; the bandwidth of a copy."""
    import cases
    f = torch.nn.functional
    from torch.nn.attention import SDPBackend, sdpa_kernel
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    normal = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    def sets(bytes_, make):
        return [make() for _ in range(max(1, min(64, ROTATED // bytes_ + 1)))]

    def product(m, n, k):
        made = sets(2 * (m * k + n * k + m * n), lambda: (normal(m, k), normal(n, k), normal(m, n)))
        return graphed(torch, [lambda s=s: torch.mm(s[0], s[1].t(), out=s[2]) for s in made])

    def gradient(m, n, rows):
        made = sets(2 * (m * rows + n * rows + m * n), lambda: (normal(rows, m), normal(rows, n), normal(m, n)))
        return graphed(torch, [lambda s=s: torch.mm(s[0].t(), s[1], out=s[2]) for s in made])

    def attention(heads, kv, sequences, length, backend):
        shape = (sequences, heads, length, cases.WIDTH)
        q, seed = (normal(*shape).requires_grad_(g) for g in (True, False))
        k, v = (normal(sequences, kv, length, cases.WIDTH).requires_grad_(True) for _ in range(2))
        with sdpa_kernel(backend):
            call = lambda: f.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv)
            with torch.no_grad():
                forward = timed(torch, [call])
            out = call()
            backward = timed(torch, [lambda: torch.autograd.grad(out, (q, k, v), seed, retain_graph=True)])
        return forward, backward

    def decoding(heads, kv, width, rows, length, backend):
        made = sets(4 * rows * length * kv * width, lambda: (
            normal(rows, heads, 1, width), *(normal(rows, kv, length, width) for _ in range(2))))
        with sdpa_kernel(backend), torch.no_grad():
            return graphed(torch, [lambda s=s: f.scaled_dot_product_attention(*s, enable_gqa=True) for s in made])

    def copied():
        a, b = (torch.zeros(1 << 30, dtype=torch.int32, device="cuda") for _ in range(2))
        return (a.numel() * 8) / timed(torch, [lambda: b.copy_(a)], least=0.01)

    def measure():
        found = {}
        for shapes in (cases.SQUARE, cases.SHAPES):
            for n, k, rows in shapes:
                for m in rows:
                    found[f"matmul {m}x{n}x{k}"] = {"cuBLAS": product(m, n, k)}
        for m, n, rows in cases.GRADIENTS:
            found[f"gradient {m}x{n}x{rows}"] = {"cuBLAS": gradient(m, n, rows)}
        torch.cuda.empty_cache()
        for heads, kv, sequences, length in cases.ATTENTION:
            for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
                case = f"{sequences}x{length} {heads}/{kv}"
                try:
                    forward, backward = attention(heads, kv, sequences, length, backend)
                except RuntimeError as error:
                    print(f"{name} {case}: {error}", file=sys.stderr)
                    continue
                found.setdefault(f"attention forward {case}", {})[name] = forward
                found.setdefault(f"attention backward {case}", {})[name] = backward
            torch.cuda.empty_cache()
        for *shape, rows, length in cases.DECODING:
            case = f"{rows}x{length} {shape[0]}/{shape[1]}"
            try:
                found[f"attention decode {case}"] = {
                    "flash": decoding(*shape, rows, length, SDPBackend.FLASH_ATTENTION)}
            except RuntimeError as error:
                print(f"flash, decoding {case}: {error}", file=sys.stderr)
        torch.cuda.empty_cache()
        found["copy"] = {"bytes/s": copied()}
        torch.cuda.empty_cache()
        return found

    product(256, 256, 256)
    attention(2, 2, 1, 512, SDPBackend.FLASH_ATTENTION)
    return measure


def head_inputs(torch, rows, width, vocabulary, chunk, **where):
    """Hidden states, weights, targets, old log-probabilities, and an advantage for each sequence of `chunk` rows."""
    x = torch.randn(rows, width, **where)
    w = torch.randn(vocabulary, width, **where) * 0.02
    y = torch.randint(0, vocabulary, (rows,), device=x.device)
    old = torch.full((rows,), -11.8, device=x.device)
    advantage = torch.randn(rows // chunk, device=x.device)
    return x.requires_grad_(True), w.requires_grad_(True), y, old, advantage


def head_way(torch, way, x, w, y, old, advantage):
    """A function that gives GRPO's clipped loss and, where gradients are asked for, leaves them in x.grad and w.grad."""
    rows, vocabulary, chunk = len(x), len(w), len(x) // len(advantage)
    each = advantage.repeat_interleave(chunk)

    def clipped(logp, old, advantage):
        ratio = (logp - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).sum() / rows

    def whole(x, w, y, old, advantage):
        logits = (x @ w.t()).float()
        return clipped(logits.gather(1, y[:, None])[:, 0] - logits.logsumexp(-1), old, advantage)

    def learn(loss):
        if torch.is_grad_enabled():
            loss.backward()
        return loss.detach()

    if way in ("compiled", "plain"):
        run = torch.compile(whole) if way == "compiled" else whole
        parts = [slice(i, i + chunk) for i in range(0, rows, chunk)]
        return lambda: sum(learn(run(x[p], w, y[p], old[p], each[p])) for p in parts)

    sys.path.insert(0, str(LIGER))
    if way == "liger-ce":
        # Triton: fused linear cross entropy is -logp of each token. Its backward has the logits again: four products.
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy as nll
        memory = max(1, vocabulary * chunk // x.numel())  # gives chunks of as many rows
        return lambda: learn(clipped(-nll(x, w, y, reduction="none", chunk_mem_const=memory), old, each))

    sequences = lambda value: value.view(len(advantage), chunk, *value.shape[1:])
    if way == "liger-fused":
        # What TRL runs with use_liger_kernel. The products of its backward are float32: as TF32 the fastest.
        from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss
        torch.backends.cuda.matmul.allow_tf32 = True
        fused = LigerFusedLinearGRPOLoss(beta=0.0, use_ref_model=False, loss_type="dr_grpo", max_completion_length=chunk)
        mask = torch.ones_like(sequences(old))
        return lambda: learn(fused(sequences(x), w, sequences(y), mask, advantage, old_per_token_logps=sequences(old))[0])

    from liger_kernel.transformers.grpo_loss import triton_grpo_loss

    def grpo():
        """Triton: the loss on a sequence's logits, whose place their gradient takes; it wants a row behind the last."""
        x.grad, w.grad, total = torch.empty_like(x), torch.empty_like(w), 0.0
        for i in range(len(advantage)):
            one = slice(i, i + 1)
            part = x.detach()[i * chunk:(i + 1) * chunk]
            logits = x.new_empty(1, chunk + 1, vocabulary)
            torch.mm(part, w.detach().t(), out=logits[0, :chunk])
            loss, _ = triton_grpo_loss(logits.requires_grad_(True), sequences(old)[one], None, sequences(y)[one],
                                       advantage[one], temperature=1.0, beta=0.0, eps_low=0.2, eps_high=0.2,
                                       loss_type="dr_grpo", max_completion_length=rows, reduce=True)
            seed = torch.autograd.grad(loss, logits)[0][0, :chunk]
            torch.mm(seed, w.detach(), out=x.grad[i * chunk:(i + 1) * chunk])
            w.grad.addmm_(seed.t(), part, beta=float(i > 0))
            total += loss.detach()
        return total

    return grpo


def head(torch, way):
    """GRPO's loss over a vocabulary, in chunks of rows, forward and gradients of hidden states and weights."""
    import cases
    rows, width, vocabulary, _ = cases.HEAD
    x, w, *rest = head_inputs(torch, rows, width, vocabulary, 1024, device="cuda", dtype=torch.bfloat16)
    run = head_way(torch, way, x, w, *rest)

    def step():
        x.grad = w.grad = None
        run()

    calls = {"head": step}
    if way not in ("liger-grpo", "liger-fused"):  # these have no forward alone
        calls["head forward"] = torch.no_grad()(run)
    for call in calls.values():
        for _ in range(2):
            call()
    torch.cuda.synchronize()
    x.grad = w.grad = None
    torch.cuda.empty_cache()
    return lambda: {name: {way: timed(torch, [call], 3)} for name, call in calls.items()}


def train(torch, way):
    """A training step of the 0.5B shape: Qwen2 as a plain module, compiled, with fused AdamW."""
    config = json.loads((HERE / "qwen2" / "config.json").read_text())
    import plain_qwen2
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = plain_qwen2.Model(torch, config, LENGTH)
        ids = torch.randint(0, config["vocab_size"], (TOKENS // LENGTH, LENGTH + 1))
    if way == "master":
        model.bfloat16()
    parameters = list(model.parameters())
    masters = [p.detach().float() for p in parameters] if way == "master" else parameters
    optimizer = torch.optim.AdamW(masters, lr=1e-5, fused=True)
    inputs, following = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def loss():
        with torch.autocast("cuda", torch.bfloat16, enabled=way == "autocast"):
            return model(inputs, following)

    compiled = torch.compile(loss)

    def step():
        value = compiled()
        value.backward()
        if way == "master":
            for master, p in zip(masters, parameters):
                master.grad, p.grad = p.grad.float(), None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if way == "master":
            with torch.no_grad():
                torch._foreach_copy_(parameters, masters)
        return value

    first = step().item()
    for _ in range(2):
        last = step().item()
    assert last < first, f"{way} does not learn: {first} to {last}"
    torch.cuda.empty_cache()
    return lambda: {"train": {way: timed(torch, [step], 3, least=0.5)}}


def decode(torch, batch):
    """Hugging Face generate with a static cache; seconds a token of every sequence, prompt included."""
    import time
    import transformers
    batch = int(batch)
    config = transformers.AutoConfig.from_pretrained(HERE / "qwen2")
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.eval()
    ids = torch.randint(0, 256, (batch, PROMPT), device="cuda")
    how = {"attention_mask": torch.ones_like(ids), "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
           "min_new_tokens": NEW, "max_new_tokens": NEW, "pad_token_id": 0}

    def run(**more):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            out = model.generate(ids, **how, **more)
        torch.cuda.synchronize()
        assert out.shape == (batch, PROMPT + NEW), f"generate gave {tuple(out.shape)}"
        return (time.perf_counter() - start) / NEW

    ways = {"static": {"cache_implementation": "static"}, "eager": {}}
    found = {}
    for name, more in ways.items():
        try:
            for _ in range(2):
                run(**more)
            found[name] = more
        except Exception:  # the other way may still go
            traceback.print_exc()
    assert found, "generate failed in every way"
    return lambda: {f"decode {batch}": {name: min(run(**more) for _ in range(2)) for name, more in found.items()}}


def main():
    part, way = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    # What libraries print must not come between the lines of the answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    say = lambda value: print(json.dumps(value), file=answers, flush=True)
    sys.path.insert(0, str(HERE))
    try:
        import torch
        measure = globals()[part](torch, way)
        say({"ready": torch.__version__, "driver": torch.version.cuda, "device": torch.cuda.get_device_name()})
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"[:300]})
        return 1
    for _ in sys.stdin:
        try:
            say(measure())
        except Exception as error:
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"[:300]})
        # What it keeps for later, others need now.
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
