"""A training step of a Llama-shaped model of 123 M parameters, beside PyTorch.

12 layers, 768 wide, 12 heads of 64, intermediate 2048, vocabulary 49152 (that of the tokenizer at hand), tied to the
head; 4 sequences of 64 tokens, mean negative log-likelihood, AdamW. PyTorch: transformers' LlamaForCausalLM and a
plain module of the same shape, compiled, with scaled_dot_product_attention and fused AdamW; bfloat16 by autocast and
by bfloat16 weights with a float32 master; the fastest counts. r1c: `seconds/train` + `seconds/update` of a step file
that reads the same number of tokens; packing the updated weights for the next step is in it. With two threads also
beside itself with one.
"""

import argparse
import json
import os
import shutil
import statistics
import time

import common

LAYERS, HIDDEN, HEADS, INNER, VOCABULARY = 12, 768, 12, 2048, 49152
SEQUENCES, LENGTH = 4, 64


def config(transformers):
    return transformers.LlamaConfig(
        num_hidden_layers=LAYERS, hidden_size=HIDDEN, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        intermediate_size=INNER, vocab_size=VOCABULARY, max_position_embeddings=1024, rms_norm_eps=1e-5,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2, attn_implementation="sdpa")


def plain(torch):
    """The same network with nothing around it."""
    nn, f = torch.nn, torch.nn.functional

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.between = nn.RMSNorm(HIDDEN, 1e-5), nn.RMSNorm(HIDDEN, 1e-5)
            self.qkv, self.o = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False), nn.Linear(HIDDEN, HIDDEN, bias=False)
            self.up, self.down = nn.Linear(HIDDEN, 2 * INNER, bias=False), nn.Linear(INNER, HIDDEN, bias=False)

        def forward(self, x, cos, sin):
            def turn(t):
                a, b = t.chunk(2, -1)
                return t * cos + torch.cat((-b, a), -1) * sin
            b, s, _ = x.shape
            q, k, v = self.qkv(self.before(x)).view(b, s, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            y = f.scaled_dot_product_attention(turn(q).to(v.dtype), turn(k).to(v.dtype), v, is_causal=True)
            x = x + self.o(y.transpose(1, 2).reshape(b, s, HIDDEN))
            gate, up = self.up(self.between(x)).chunk(2, -1)
            return x + self.down(f.silu(gate) * up)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(VOCABULARY, HIDDEN)
            self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
            self.norm = nn.RMSNorm(HIDDEN, 1e-5)
            width = HIDDEN // HEADS
            angles = torch.outer(torch.arange(LENGTH), 1e4 ** (-torch.arange(0, width, 2) / width)).repeat(1, 2)
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())
            self.apply(lambda m: nn.init.normal_(m.weight, std=0.02) if isinstance(m, (nn.Linear, nn.Embedding)) else 0)

        def forward(self, ids, labels):
            x = self.table(ids)
            for layer in self.layers:
                x = layer(x, self.cos, self.sin)
            logits = f.linear(self.norm(x), self.table.weight)
            return f.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    return Model()


def steps(torch, transformers, dtype, only):
    """{way: one training step}, warm."""
    ids = torch.randint(0, VOCABULARY, (SEQUENCES, LENGTH + 1))
    following = ids[:, 1:].contiguous()
    made = {}
    for name in ("plain", "transformers"):
        for how in (["f32"] if dtype == "f32" else ["autocast", "master"]):
            way = f"{name} {how}"
            if only and way not in only:
                continue
            torch.manual_seed(1)
            model = plain(torch) if name == "plain" else transformers.LlamaForCausalLM(config(transformers))
            if how == "master":
                model.bfloat16()
            masters = [p.detach().float() if how == "master" else p for p in model.parameters()]
            optimizer = torch.optim.AdamW(masters, lr=1e-5, fused=True)

            def loss(model=model, name=name, how=how):
                with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
                    if name == "plain":
                        return model(ids[:, :-1], following)
                    # `shift_labels` are the next tokens themselves.
                    return model(input_ids=ids[:, :-1], labels=following, shift_labels=following,
                                 use_cache=False).loss
            compiled = torch.compile(loss)

            def step(model=model, masters=masters, optimizer=optimizer, compiled=compiled, how=how):
                value = compiled()
                value.backward()
                if how == "master":
                    for master, p in zip(masters, model.parameters()):
                        master.grad, p.grad = p.grad.float(), None
                optimizer.step()
                if how == "master":
                    with torch.no_grad():
                        torch._foreach_copy_(list(model.parameters()), masters)
                optimizer.zero_grad()
                return value.item()
            start = time.perf_counter()
            first = step()
            for _ in range(3):
                last = step()
            assert last < first, f"{way} does not learn: {first} to {last}"
            common.say(f"{way}: compiled in {time.perf_counter() - start:.0f} s")
            made[way] = step
    return made


def artifact(transformers, torch, tokenizer, dtype):
    """The same model and batch for r1c."""
    model = common.WORK / "train-model"
    if not (model / "model.safetensors").exists():
        torch.manual_seed(1)
        transformers.LlamaForCausalLM(config(transformers)).save_pretrained(model)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(tokenizer / name, model)
    torch.manual_seed(2)
    with open(common.WORK / "train.jsonl", "w") as f:
        for _ in range(SEQUENCES):
            ids = torch.randint(3, VOCABULARY, (LENGTH + 1,)).tolist()
            f.write(json.dumps({"p": ids[:1], "c": ids[1:]}) + "\n")
    return common.compile_step(f"train-{dtype}", f"""import losses
policy actor = load("train-model", context = {LENGTH + 1})
data texts = jsonl("train.jsonl", prompt_ids = "p", ids = "c")
stage train(steps = 8) {{
  o = read(texts, groups = {SEQUENCES}, max_tokens = {LENGTH})
  update(actor, losses.likelihood(actor, o), adamw(lr = 1e-5))
}}
""", f"--weights={'float32' if dtype == 'f32' else 'bfloat16'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=common.WORK / "model", help="a directory with SmolLM2's tokenizer")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--ways", nargs="+", help="only these of PyTorch's, as 'plain master'")
    options = parser.parse_args()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(common.WORK / "inductor"))
    torch, transformers = common.need("torch", "transformers")
    common.need_model(options.model)
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    peak, rows = common.peaks(), []
    for dtype in options.dtypes:
        step_file = artifact(transformers, torch, options.model, dtype)
        theirs, mine, alone = {}, [], []

        def ours(threads):
            lines, _ = common.run_step(step_file, threads)
            assert all(line["tokens"] == SEQUENCES * LENGTH for line in lines)
            return [line["seconds/train"] + line["seconds/update"] for line in lines[2:]]

        ways = steps(torch, transformers, dtype, options.ways)
        for _ in range(options.rounds):
            mine += ours(threads)
            if threads == 2:
                alone += ours(1)
            for way, step in ways.items():
                for _ in range(5):
                    start = time.perf_counter()
                    step()
                    theirs.setdefault(way, []).append(time.perf_counter() - start)
        del ways
        way, seconds = min(theirs.items(), key=lambda item: statistics.median(item[1]))
        own = statistics.median(mine)
        # Three products forward and backward for each weight of a matrix.
        weights = LAYERS * HIDDEN * (4 * HIDDEN + 3 * INNER) + HIDDEN * VOCABULARY
        flops = 6e-9 * weights * SEQUENCES * LENGTH
        rows.append(common.row(f"train step 123M {dtype}", f"{threads}T 256 tokens", "s", statistics.median(seconds),
                               own, 1.3, way=way, share=flops / own / peak.get(f"{dtype} {threads}T", 1e9),
                               ways={w: statistics.median(s) for w, s in theirs.items()}))
        if alone:
            rows.append(common.row(f"train step 123M {dtype}", "2T against r1c's 1T", "s", statistics.median(alone), own,
                                   1.7))
    common.report("train", f"PyTorch {torch.__version__}", rows, peak=peak, rounds=options.rounds,
                  transformers=transformers.__version__)


if __name__ == "__main__":
    main()
