"""Rows of results, their files and the one table of `./dev gpu`."""

import json
import math
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peers"))
import common  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Whose lines stand beside a part's, where not the fastest of all counts.
FLASH = "flash"


def shape():
    """(parameters, bytes of keys and values a position, flops of attention a training step of 16 x 1024) of qwen2/."""
    c = json.loads((HERE / "qwen2" / "config.json").read_text())
    hidden, inner, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    keys = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner
    parameters = layers * layer + c["vocab_size"] * hidden
    # Forward: two products over half of the pairs; backward: twice that at least.
    attention = 3 * 2 * 1024 * 1024 * hidden * 16 * layers
    return parameters, layers * 2 * keys * 2, attention


class Rows:
    def __init__(self, commit, device, driver):
        self.context = {"gpu": device, "driver": driver, "commit": commit}
        try:
            self.context = {**common.machine(), **self.context}
        except (OSError, StopIteration):  # no git here, say
            pass
        self.version = None
        self.peers = {}  # {name: {way: [numbers of each round]}}
        self.decoded = {}  # {batch: (seconds/sample, tokens a sequence)}
        self.rates = {}  # {name of a case: flops a second}
        self.late = []  # what is made once all peers are known
        self.parts = {}  # {part: [row]}

    def ways(self, name):
        return {way: statistics.median(numbers) for way, numbers in self.peers.get(name, {}).items()}

    def add(self, part, what, case, unit, r1c, goal, ways, peer=None, **more):
        """`peer`: the way that counts; the best one without it."""
        best = max if unit.endswith("/s") else min
        way = peer if peer in ways else best(ways, key=ways.get) if ways else None
        if way is None:
            row = {"what": what, "case": case, "unit": unit, "peer": None, "r1c": r1c, "ratio": None, "goal": goal}
        else:
            row = common.row(what, case, unit, ways[way], r1c, goal, way=way)
        if len(ways) > 1:
            row["ways"] = ways
        self.parts.setdefault(part, []).append(row | more)

    def add_case(self, part, case, seconds):
        def make():
            more = {"tflops": case["flops"] / seconds * 1e-12}
            bandwidth = self.ways("copy").get("bytes/s")
            if "bytes" in case and bandwidth:
                more["share"] = case["bytes"] / seconds / bandwidth
            self.add(part, case["what"], case["case"], "s", seconds, case["goal"], self.ways(case["name"]),
                     peer=FLASH if part == "attention" else None, **more)
        self.late.append(make)
        self.rates[case["name"]] = case["flops"] / seconds

    def peak(self):
        """Flops a second of the largest square product, whoever is faster."""
        name = "matmul 8192x8192x8192"
        rates = [2 * 8192 ** 3 / seconds for seconds in self.ways(name).values()]
        if name in self.rates:
            rates.append(self.rates[name])
        return max(rates, default=None)

    def add_train(self, seconds, rounds, tokens):
        def make():
            parameters, _, attention = shape()
            more = {"rounds": rounds}
            if self.peak():
                more["share"] = (6 * parameters * tokens + attention) / seconds / self.peak()
            self.add("train", "train step 0.5B bf16", f"{tokens} tokens", "s", seconds, 1.3, self.ways("train"), **more)
        self.late.append(make)

    def add_decode(self, batch, prompt, new):
        def make():
            parameters, position, _ = shape()
            seconds, tokens = self.decoded[batch]
            more = {"tokens": tokens}
            bandwidth = self.ways("copy").get("bytes/s")
            if bandwidth:
                read = 2 * parameters + batch * position * (prompt + tokens / 2)
                more["share"] = read * tokens / seconds / bandwidth
            rates = {way: batch / step for way, step in self.ways(f"decode {batch}").items()}
            self.add("decode", "decode 0.5B bf16", f"batch {batch}", "tok/s", batch * tokens / seconds, 10.0, rates,
                     peer_tokens=new, **more)
        self.late.append(make)

    def finish(self):
        for make in self.late:
            try:
                make()
            except (ArithmeticError, KeyError, ValueError, TypeError) as error:
                print(f"gpu: a row is missing: {type(error).__name__}: {error}", file=sys.stderr)
        copy = self.ways("copy").get("bytes/s")
        if copy:
            self.context["copy GB/s"] = round(copy * 1e-9, 1)
        if self.peak():
            self.context["matmul TFLOP/s"] = round(self.peak() * 1e-12, 1)

    def write(self, *directories):
        """PART.json in each directory, in the form of bench/results/peers."""
        short = lambda value: float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            for part, rows in self.parts.items():
                lines = [json.dumps({k: short(v) for k, v in row.items()}) for row in rows]
                (directory / f"{part}.json").write_text(
                    '{"peer": ' + json.dumps(self.version) + ',\n"context": ' + json.dumps(self.context)
                    + ',\n"rows": [\n' + ",\n".join(lines) + "\n]}\n")

    def table(self):
        lines = [("what", "case", "peer", "way", "r1c", "ratio", "goal", "", "TFLOP/s", "share")]
        for rows in self.parts.values():
            for row in rows:
                peer, ratio = row["peer"], row["ratio"]
                number = lambda value: "" if value is None else precise(value, row["unit"])
                lines.append((
                    row["what"], row["case"], number(peer), row.get("way", ""), number(row["r1c"]),
                    "" if ratio is None else f"{ratio:.2f}", f"{row['goal']:.2f}",
                    "" if ratio is None or ratio >= row["goal"] else "missed",
                    f"{row['tflops']:.0f}" if "tflops" in row else "", f"{row['share']:.0%}" if "share" in row else ""))
        widths = [max(map(len, column)) for column in zip(*lines)]
        print(f"{self.context['gpu']}, driver {self.context['driver']}, {self.context['commit']}; "
              f"peers: {self.version or 'none'}; share: of the matmul peak, of the copy bandwidth")
        for line in lines:
            print("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                            for i, (cell, width) in enumerate(zip(line, widths))).rstrip())


def precise(value, unit):
    if unit == "s" and value < 1e-3:
        return f"{value * 1e6:.1f} us"
    return common.number(value, unit)
