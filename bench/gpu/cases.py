"""cases.py DIRECTORY: writes kernels.mlir and cases.json, what bench_gpu times.

A case says what its kernels work on and, for the table, what is compared; peers.py has lines of the same names. `bytes`: of
a case that memory bounds, what has to be read.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Columns (N) and depth (K) of products, and the rows that each is run with.
SQUARE = ((4096, 4096, (4096,)), (8192, 8192, (8192,)))
SMALL = (1, 64, 128)
SHAPES = ((1152, 896, (16384,)), (896, 896, (16384,)), (9728, 896, (*SMALL, 16384)), (896, 4864, (*SMALL, 16384)),
          (4096, 14336, SMALL), (151936, 896, SMALL))
# Products of a decode step of the 0.5B shape, and among how many blocks their sums are divided where nothing is promised
# about bits: columns (N), depth (K), parts.
DECODED = ((896, 896, (2, 4)), (9728, 896, (2,)), (896, 4864, (2, 4, 8)))
# Columns of A and of B, and rows: the reduction runs over the rows.
GRADIENTS = ((4096, 4096, 8192), (896, 9728, 16384))
HEAD = (8192, 4096, 131072, 4096)  # rows, width, vocabulary, rows of a slice
# heads, heads of keys; sequences, their length
ATTENTION = tuple((h, kv, n, length) for h, kv in ((16, 16), (32, 8)) for n, length in ((1, 16384), (4, 4096)))
WIDTH = 128
# The same for decoding, with the width of a head: a row for each sequence, that sees all its keys.
DECODING = tuple((h, kv, width, n, length) for h, kv, width in ((14, 2, 64), (28, 4, 128))
                 for n, length in ((1, 4096), (1, 32768), (8, 32768), (128, 1024)))


def bf16(*sizes, scale=1.0):
    return buffer("bf16", *sizes) | {"fill": {"dtype": "bf16", "scale": scale}}


def buffer(dtype, *sizes):
    """Zeros."""
    count = {"bf16": 2, "f32": 4, "i32": 4}[dtype]
    for size in sizes:
        count *= size
    return {"bytes": count}


def i32(count, **how):
    return buffer("i32", count) | {"fill": {"dtype": "i32"} | how}


def f32(*sizes, **how):
    return buffer("f32", *sizes) | {"fill": {"dtype": "f32"} | how}


def ceil(n, step):
    return (n + step - 1) // step * step


def product(name, columns, depth):
    a, b, c = f"tensor<?x{depth}xbf16>", f"!kern.packed<{depth}x{columns}xbf16>", f"tensor<?x{columns}xbf16>"
    return f"""func.func @{name}(%a: {a}, %b: {b}) -> {c} attributes {{kern.kernel}} {{
  %c = kern.matmul %a, %b : {a}, {b} acc(%sum) -> ({c}) {{
    %narrow = arith.truncf %sum : f32 to bf16
    kern.yield %narrow : bf16
  }}
  return %c : {c}
}}
"""


def added(name, columns, depth, parts=1):
    """A product that is added to float32: with several parts by atomic additions, in the order in which they come."""
    a, b, c = f"tensor<?x{depth}xbf16>", f"!kern.packed<{depth}x{columns}xbf16>", f"tensor<?x{columns}xf32>"
    split = f", kern.unordered_splits = {parts} : i64" if parts > 1 else ""
    return f"""func.func @{name}(%a: {a}, %b: {b}, %init: {c}) -> {c} attributes {{kern.kernel{split}}} {{
  %c = kern.matmul %a, %b : {a}, {b} init(%init : {c}) -> ({c})
  return %c : {c}
}}
"""


def gradient(name, m, n):
    a, b, c = f"tensor<?x{m}xbf16>", f"tensor<?x{n}xbf16>", f"tensor<{m}x{n}xf32>"
    return f"""func.func @{name}(%a: {a}, %b: {b}, %init: {c}) -> {c} attributes {{kern.kernel}} {{
  %c = kern.matmul %a, %b transpose_a : {a}, {b} init(%init : {c}) -> ({c})
  return %c : {c}
}}
"""


def attention(name, heads, kv):
    q, k, lse, i = (f"tensor<?x{heads * WIDTH}xbf16>", f"tensor<?x{kv * WIDTH}xbf16>", f"tensor<?x{heads}xf32>",
                    "tensor<?xi32>")
    how = f"{{heads = {heads} : i64, kv_heads = {kv} : i64, scale = {WIDTH ** -0.5} : f32}}"
    return f"""func.func @{name}_forward(%q: {q}, %k: {k}, %v: {k}, %at: {i}, %from: {i}) -> ({q}, {lse}) attributes {{kern.kernel}} {{
  %out, %lse = kern.attention %q, %k, %v at %at from %from {how} : {q}, {k}, {k}, {i}, {i} -> {q}, {lse}
  return %out, %lse : {q}, {lse}
}}
func.func @{name}_backward(%q: {q}, %k: {k}, %v: {k}, %out: {q}, %lse: {lse}, %seed: {q}, %offsets: {i}) -> ({q}, {k}, {k}) attributes {{kern.kernel}} {{
  %dq, %dk, %dv = kern.attention_backward %q, %k, %v out %out lse %lse seed %seed offsets %offsets {how} : {q}, {k}, {k}, {q}, {lse}, {q}, {i} -> {q}, {k}, {k}
  return %dq, %dk, %dv : {q}, {k}, {k}
}}
"""


def decoding(name, heads, kv, width, attributes=""):
    q, k, i = f"tensor<?x{heads * width}xbf16>", f"tensor<?x{kv * width}xbf16>", "tensor<?xi32>"
    how = f"{{cached, heads = {heads} : i64, kv_heads = {kv} : i64, scale = {width ** -0.5} : f32}}"
    return f"""func.func @{name}(%q: {q}, %k: {k}, %v: {k}, %at: {i}, %from: {i}) -> {q} attributes {{kern.kernel{attributes}}} {{
  %out = kern.attention %q, %k, %v at %at from %from {how} : {q}, {k}, {k}, {i}, {i} -> {q}
  return %out : {q}
}}
"""


def products(kernels, cases):
    for what, shapes in (("matmul", SQUARE), ("matmul 0.5B", SHAPES)):
        for columns, depth, rows in shapes:
            kernel = f"product_{columns}_{depth}"
            kernels.append(product(kernel, columns, depth))
            for m in rows:
                goal = 0.95 if what == "matmul" or m <= 128 else 0.85
                cases.append({
                    "name": f"matmul {m}x{columns}x{depth}", "what": what if m > 128 else f"matmul {m} rows",
                    "case": f"{m}x{columns}x{depth}", "goal": goal, "flops": 2 * m * columns * depth,
                    "buffers": {"a": bf16(m, depth), "b": bf16(ceil(columns, 32), depth, scale=0.02),
                                "c": buffer("bf16", m, columns)},
                    "steps": [{"kernel": kernel, "rows": m, "operands": ["a", "b", "c"]}]})
    for m, n, rows in GRADIENTS:
        kernel = f"gradient_{m}_{n}"
        kernels.append(gradient(kernel, m, n))
        cases.append({
            "name": f"gradient {m}x{n}x{rows}", "what": "weight gradient", "case": f"{m}x{n}x{rows}", "goal": 0.85,
            "flops": 2 * m * n * rows,
            "buffers": {"a": bf16(rows, m), "b": bf16(rows, n, scale=0.02), "c": buffer("f32", m, n)},
            "steps": [{"kernel": kernel, "rows": rows, "operands": ["a", "b", "c"]}]})


def invariance(kernels, cases):
    """The same product and result, with a row's bits its own, and with k divided among blocks as a library does where
    that fills the device: what is `beside` a case is its peer."""
    for columns, depth, parts in DECODED:
        for n in (1, *parts):
            kernels.append(added(f"added_{columns}_{depth}_{n}", columns, depth, n))
        for m in (1, 16, 64):
            base = f"invariance {m}x{columns}x{depth}"
            for n in (1, *parts):
                case = {"name": base, "what": f"row invariance, {m} row{'s' if m > 1 else ''}",
                        "case": f"{m}x{columns}x{depth}", "goal": 0.95}
                if n > 1:
                    case = {"name": f"{base} in {n}", "beside": base, "way": f"k in {n}"}
                cases.append(case | {
                    "flops": 2 * m * columns * depth,
                    "buffers": {"a": bf16(m, depth), "b": bf16(ceil(columns, 32), depth, scale=0.02),
                                "c": buffer("f32", m, columns)},
                    "steps": [{"kernel": f"added_{columns}_{depth}_{n}", "rows": m, "operands": ["a", "b", "c"]}]})


def head(kernels, cases):
    rows, width, vocabulary, slice_ = HEAD
    kernels.append((HERE / "head.mlir").read_text())
    chunks = [buffer("f32", rows, vocabulary // 256) for _ in range(4)]
    buffers = {"x": bf16(rows, width), "w": bf16(vocabulary, width, scale=0.02),
               "w2": bf16(width, vocabulary, scale=0.02), "target": i32(rows, below=vocabulary),
               "temperature": f32(1, value=1.0), "seed": f32(rows, scale=1e-4), "logp": buffer("f32", rows),
               "entropy": buffer("f32", rows), "lse": buffer("f32", rows), "g": buffer("bf16", slice_, vocabulary),
               "logits": buffer("f32", slice_, vocabulary), "logit_rows": i32(slice_, times=1),
               "dx": buffer("f32", rows, width), "dw": buffer("f32", vocabulary, width)}
    buffers |= {f"chunk{i}": chunk for i, chunk in enumerate(chunks)}
    four = [f"chunk{i}" for i in range(4)]
    forward = [{"kernel": "head_chunks", "rows": rows, "operands": ["x", "w", "target", "temperature", *four]},
               {"kernel": "head_rows", "rows": rows, "operands": [*four, "logp", "entropy", "lse"]}]
    both = []
    for first in range(0, rows, slice_):
        x, number = ["x", first * width * 2], lambda name: [name, first * 4]
        both += [
            {"kernel": "head_chunks_stored", "rows": slice_,
             "operands": [x, "w", number("target"), "temperature", *four, "logits"]},
            {"kernel": "head_rows", "rows": slice_,
             "operands": [*four, number("logp"), number("entropy"), number("lse")]},
            {"kernel": "head_logits_gradient", "rows": slice_,
             "operands": ["logits", "logit_rows", number("target"), "temperature", number("lse"), number("seed"), "g"]},
            {"kernel": "head_hidden_gradient", "rows": slice_, "operands": ["g", "w2", ["dx", first * width * 4]]},
            {"kernel": "head_weight_gradient", "rows": slice_, "operands": ["g", x, "dw"]}]
    product_ = 2 * rows * width * vocabulary
    case = f"{rows}x{width}x{vocabulary}"
    cases.append({"name": "head forward", "what": "head forward", "case": case, "goal": 1.0, "flops": product_,
                  "buffers": buffers, "steps": forward})
    cases.append({"name": "head", "what": "head and loss, both ways", "case": case, "goal": 3.0, "flops": 3 * product_,
                  "buffers": buffers, "steps": both})


def attentions(kernels, cases):
    for heads, kv in sorted({(h, k) for h, k, _, _ in ATTENTION}):
        kernels.append(attention(f"attention_{heads}_{kv}", heads, kv))
    for heads, kv, sequences, length in ATTENTION:
        rows, kernel = sequences * length, f"attention_{heads}_{kv}"
        wide, narrow = (rows, heads * WIDTH), (rows, kv * WIDTH)
        inputs = {"q": bf16(*wide), "k": bf16(*narrow), "v": bf16(*narrow), "out": buffer("bf16", *wide),
                  "lse": buffer("f32", rows, heads)}
        case = f"{sequences}x{length} {heads}/{kv}"
        flops = 2 * length * length * WIDTH * heads * sequences  # half of the pairs of a query and a key
        forward = {"kernel": f"{kernel}_forward", "rows": rows,
                   "operands": ["q", "k", "v", "at", "from", "out", "lse"]}
        cases.append({"name": f"attention forward {case}", "what": "attention forward", "case": case, "goal": 1.0,
                      "flops": flops,
                      "buffers": inputs | {"at": i32(rows, within=length), "from": i32(rows, start=length)},
                      "steps": [forward]})
        # Its `out` and `lse` are zeros: the time does not depend on them, and all that is computed stays finite
        # with small scores.
        inputs |= {"q": bf16(*wide, scale=0.02), "seed": bf16(*wide), "offsets": i32(sequences + 1, times=length),
                   "dq": buffer("bf16", *wide), "dk": buffer("bf16", *narrow), "dv": buffer("bf16", *narrow)}
        cases.append({"name": f"attention backward {case}", "what": "attention backward", "case": case, "goal": 0.8,
                      "flops": flops * 5 // 2, "buffers": inputs,
                      "steps": [{"kernel": f"{kernel}_backward", "rows": sequences,
                                 "operands": ["q", "k", "v", "out", "lse", "seed", "offsets", "dq", "dk", "dv"]}]})


def decodings(kernels, cases):
    """What is `beside` a case is the same with one block of the grid for all keys of a row and head."""
    for heads, kv, width in sorted({shape[:3] for shape in DECODING}):
        kernels.append(decoding(f"decoding_{heads}_{kv}", heads, kv, width))
        kernels.append(decoding(f"undivided_{heads}_{kv}", heads, kv, width, ", kern.attention_places = 1 : i64"))
    for heads, kv, width, rows, length in DECODING:
        case = f"{rows}x{length} {heads}/{kv}"
        name = f"attention decode {case}"
        keys = bf16(rows * length, kv * width)
        buffers = {"q": bf16(rows, heads * width), "k": keys, "v": keys, "at": i32(rows, value=length - 1),
                   "from": i32(rows, times=length), "out": buffer("bf16", rows, heads * width)}
        flops = 4 * rows * length * heads * width
        for kernel, of in (("decoding", {"name": name, "what": "attention decode", "case": case, "goal": 1.0}),
                           ("undivided", {"name": f"{name} undivided", "beside": name, "way": "undivided"})):
            cases.append(of | {"flops": flops, "bytes": 4 * rows * length * kv * width, "buffers": buffers,
                               "steps": [{"kernel": f"{kernel}_{heads}_{kv}", "rows": rows,
                                          "operands": ["q", "k", "v", "at", "from", "out"]}]})


def main():
    directory = pathlib.Path(sys.argv[1])
    kernels, cases = [], []
    products(kernels, cases)
    invariance(kernels, cases)
    head(kernels, cases)
    attentions(kernels, cases)
    decodings(kernels, cases)
    (directory / "kernels.mlir").write_text("".join(kernels))
    (directory / "cases.json").write_text(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
