"""run.py [PART…] [--no-peers]: what `./dev gpu` does where a GPU is, from the package that pack.py made.

Parts: tests, programs, kernels, head, attention, train, decode, profile (where the time of train and decode goes: tables
in the logs). Each has its own time; one that fails does not stop the others. Peers prepare while tests and programs run,
and each measures right after r1c, twice, in turn.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "bench" / "peers")]
import common  # noqa: E402
import report  # noqa: E402
from peers import NEW, PROMPT, WAYS  # noqa: E402

PACKAGE = ROOT / "build" / "gpu"
PARTS = ("tests", "programs", "kernels", "head", "attention", "train", "decode", "profile")
PEERS = {"kernels": ["products"], "attention": ["products"], "head": ["head"], "train": ["train"], "decode": ["decode"]}
CASES = {"kernels": ("matmul", "gradient", "invariance"), "head": ("head",), "attention": ("attention",)}
ON_POLICY = ("narrow-bf16", "wide-bf16", "qwen3-bf16")
DECODED = 512  # new tokens of decode*.r1
PEERS_READY = 130  # seconds after the start until which peers are waited for
START = time.monotonic()
limit = 330  # seconds after the start when whatever still runs is given up, so that there is a table


def within(timeout):
    """No more than what is left of all the time, in seconds."""
    return max(1, min(timeout, START + limit - time.monotonic()))


def say(*words):
    print(f"gpu {time.monotonic() - START:4.0f} s:", *words, file=sys.stderr, flush=True)


class Failed(Exception):
    pass


class Place:
    """Where things lie on this machine."""

    def __init__(self, logs):
        self.logs = logs
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="r1c-gpu-"))
        with tarfile.open(PACKAGE / "programs.tar.gz") as archive:
            archive.extractall(self.work)
        self.bin = self.work / "bin"
        self.data = self.work / "data"
        shutil.copytree(PACKAGE / "data", self.data)
        self.environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(
            filter(None, (str(self.work / "lib"), os.environ.get("LD_LIBRARY_PATH", ""))))}

    def run(self, name, command, timeout, partly=False, **more):
        """Standard output of a program; what it says is kept in the logs. `partly`: a timeout is no failure."""
        log = self.logs / f"{name}.txt"
        with open(log, "w+") as file:
            process = subprocess.Popen([str(word) for word in command], stdout=file, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, cwd=self.work, env=self.environment | more)
            try:
                code = process.wait(within(timeout))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        text = log.read_text(errors="replace")
        if code is None and not partly:
            raise Failed(f"{name}: more than {timeout} s, or no time was left; {log}")
        if code:
            said = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
            raise Failed(f"{name}: ended with {code}: {(said or [''])[-1].strip()[:300]}; {log}")
        return text

    def step(self, name, timeout, *options, base=None, partly=False, **more):
        """Metrics of a compiled step file: a row a round."""
        out = self.work / f"out-{name}"
        shutil.rmtree(out, ignore_errors=True)
        command = [self.bin / "r1c-run", PACKAGE / f"{name.split('+')[0]}.r1x", "--base", base or self.data, "--out", out,
                   "--checkpoint-every", 0, *options]
        try:
            self.run(name, command, timeout, partly, **more)
        finally:
            metrics = out / "metrics.jsonl"
            if metrics.exists():
                shutil.copy(metrics, self.logs / f"{name}.jsonl")
        rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
        shutil.rmtree(out, ignore_errors=True)
        if not rows:
            raise Failed(f"{name}: no round was finished in {timeout} s")
        return rows


class Peer:
    """A process of peers.py, which prepares at once and measures when asked to."""

    def __init__(self, part, way, place):
        self.part, self.way, self.ready, self.why = part, way, False, "not ready in time"
        self.answers, self.arrived = [], threading.Condition()
        cache = ROOT / "build" / "peers" / "inductor"
        self.log = open(place.logs / f"peer-{part}-{way or 'all'}.txt", "w")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "peers.py", part, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(cache), "HF_HUB_OFFLINE": "1"})
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            with self.arrived:
                try:
                    self.answers.append(json.loads(line))
                except ValueError:
                    self.answers.append({"error": line.strip()[:200]})
                self.arrived.notify()
        with self.arrived:
            self.answers.append({"error": "it ended"})
            self.arrived.notify()

    def answer(self, timeout):
        with self.arrived:
            self.arrived.wait_for(lambda: self.answers, max(0, timeout))
            return self.answers.pop(0) if self.answers else {"error": "not in time"}

    def wait(self, deadline):
        """Whether it is ready; asked once."""
        answer = self.answer(deadline - time.monotonic())
        if "ready" in answer:
            self.ready, self.version = True, answer["ready"]
            return
        self.why = answer["error"]
        say(f"peer {self.part} {self.way}: {self.why}")
        self.end()

    def measure(self, timeout):
        if not self.ready:
            return {}
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            self.ready = False
            return {}
        answer = self.answer(within(timeout))
        if "error" in answer:
            say(f"peer {self.part} {self.way}: {answer['error']}")
            self.ready = False
            self.end()
            return {}
        return answer

    def end(self):
        self.process.kill()
        self.process.wait()


class Peers:
    def __init__(self, parts, place):
        wanted = {name for part in parts for name in PEERS.get(part, ())}
        self.all = [Peer(part, way, place) for part in WAYS if part in wanted for way in WAYS[part]]
        self.waited = False

    def wait(self):
        """Nothing is timed before all of them are ready, or given up."""
        if not self.waited:
            self.waited = True
            for peer in self.all:
                peer.wait(START + PEERS_READY)
            say("peers:", ", ".join(f"{p.part} {p.way}".strip() for p in self.all if p.ready) or "none")

    def measure(self, part, found, timeout):
        """Adds {name: {way: [numbers]}} of a part's peers to `found`."""
        for peer in self.all:
            if peer.part in PEERS[part]:
                for name, ways in peer.measure(timeout).items():
                    for way, number in ways.items():
                        found.setdefault(name, {}).setdefault(way, []).append(number)

    def version(self):
        return next((f"PyTorch {peer.version}" for peer in self.all if peer.ready), None)

    def end(self):
        for peer in self.all:
            peer.end()


# The parts. Each gives rows for the table; a Failed says what went wrong.


def nccl():
    """{variable: the NCCL that comes with PyTorch}, where there is one and none is named."""
    found = [] if "R1C_LIBNCCL" in os.environ else [
        path for folder in sys.path for path in pathlib.Path(folder).glob("nvidia/nccl/lib/libnccl.so.2")]
    return {"R1C_LIBNCCL": str(found[0])} if found else {}


def tests(place, _peers, _rows):
    text = place.run("tests", [place.bin / "runtime_tests", "--gtest_filter=*cuda*:*Cuda*"], 60, R1C_TEST_GPU="1", **nccl())
    passed = [line for line in text.splitlines() if "PASSED" in line]
    skipped = [line for line in text.splitlines() if "SKIPPED" in line]
    if not passed or skipped:
        raise Failed(f"tests: {(skipped or ['none passed'])[0].strip()}")
    say("tests:", passed[0].strip())


def programs(place, _peers, _rows):
    package = json.loads((PACKAGE / "package.json").read_text())
    arithmetic, wrong = ROOT / "examples" / "arithmetic", []

    def attempt(name, check):
        try:
            say(f"programs: {name}: {check()}")
        except Failed as error:
            wrong.append(str(error))
            say("FAILED", error)

    def same():
        name = "arithmetic-f32"
        mine = place.step(name, 60, "--steps", package["steps"], "--quiet", base=arithmetic)
        want = [json.loads(line) for line in (PACKAGE / "expected.jsonl").read_text().splitlines()]
        if len(mine) != len(want):
            raise Failed(f"{name}: {len(mine)} rows, the CPU gave {len(want)}")
        for a, b in zip(mine, want):
            drop = lambda row: {k: v for k, v in row.items() if not k.startswith("seconds")}
            if drop(a) != drop(b):
                key = next(k for k in sorted(drop(a).keys() | drop(b).keys()) if a.get(k) != b.get(k))
                raise Failed(f"{name}: step {b['step']}: {key} is {a.get(key)}, on the CPU {b.get(key)}")
        return f"{len(mine)} rows have the CPU's bits"

    def on_policy(name):
        base = place.data if name.startswith("qwen3") else arithmetic
        rows = place.step(name, 60, "--steps", package["steps"] if base == arithmetic else 6, "--quiet", base=base)
        seen = [row["ratio/max_deviation"] for row in rows if "ratio/max_deviation" in row]
        off = [value for value in seen if value != 0]
        if not seen or off:
            raise Failed(f"{name}: ratio/max_deviation is not 0 in {len(off)} of {len(seen)} rounds: {off[:3]}")
        losses = [row.get("loss") for row in rows]
        if any(not isinstance(loss, (int, float)) or loss != loss for loss in losses):
            raise Failed(f"{name}: a loss is no number: {losses[:8]}")
        return f"ratio/max_deviation is 0 in {len(seen)} rounds"

    attempt("arithmetic-f32", same)
    for name in ON_POLICY:
        attempt(name, lambda: on_policy(name))
    if wrong:
        raise Failed("; ".join(wrong))


def bench(part, rounds, timeout):
    """Times the package's kernels of a part in turn with its peers."""
    def body(place, peers, rows):
        folder, mine, theirs = PACKAGE / "kernels", {}, {}
        cases = [case for case in json.loads((folder / "cases.json").read_text())["cases"]
                 if case["name"].startswith(CASES[part])]
        peers.wait()
        failure = None
        for i in range(rounds):
            try:
                text = place.run(f"{part}{i}", [place.bin / "bench_gpu", folder / "kernels.cubin", folder / "launches.json",
                                                folder / "cases.json", *CASES[part]], timeout, partly=True)
            except Failed as error:  # a case failed, others may not have
                failure = error
                text = (place.logs / f"{part}{i}.txt").read_text(errors="replace")
            for line in text.splitlines():
                if not line.startswith("{"):
                    continue
                try:
                    result = json.loads(line)
                except ValueError:
                    continue
                if "error" in result:
                    say(f"{part}: {result['name']}: {result['error']}")
                else:
                    mine.setdefault(result["name"], []).append(result["seconds"])
            # The kernels' peer gives what attention is held against, too.
            if part != "attention" or not rows.peers.keys() & {case["name"] for case in cases}:
                peers.measure(part, theirs, 60)
        for case in cases:
            if "beside" in case and case["name"] in mine:
                theirs.setdefault(case["beside"], {})[case["way"]] = mine[case["name"]]
        for name, ways in theirs.items():  # of attention at decoding the kernels' peer has told before
            rows.peers.setdefault(name, {}).update(ways)
        for case in cases:
            if case["name"] in mine and "beside" not in case:
                rows.add_case(part, case, statistics.median(mine[case["name"]]))
        missing = [case["name"] for case in cases if case["name"] not in mine]
        if missing:
            raise Failed(f"{part}: not measured: {', '.join(missing)}" + (f"; {failure}" if failure else ""))
    return body


def train(place, peers, rows):
    peers.wait()
    found = place.step("train", 60, partly=True)
    theirs = {}
    peers.measure("train", theirs, 60)
    rows.peers |= theirs
    late = found[2:] or found[-1:]
    rows.add_train(statistics.median(row["seconds"] for row in late), len(late), found[-1]["tokens"])


def decode(place, peers, rows):
    peers.wait()
    theirs, wrong = {}, []
    for batch in (1, 128):
        try:
            found = place.step(f"decode{batch}", 40, partly=True)
            late = found[1:] or found
            seconds = statistics.median(row["seconds/sample"] for row in late)
            lengths = late[-1].get("response_length/mean", DECODED)
            rows.decoded[batch] = (seconds, lengths)
        except Failed as error:
            wrong.append(str(error))
    peers.measure("decode", theirs, 60)
    rows.peers |= theirs
    for batch in rows.decoded:
        rows.add_decode(batch, PROMPT, NEW)
    if wrong:
        raise Failed("; ".join(wrong))


def profile(place, _peers, _rows):
    """Where the time goes, kernel by kernel, each run by itself: tables in the logs."""
    for name in ("train", "decode1", "decode128"):
        place.step(f"{name}+profile", 60, "--profile", "--quiet", "--steps", 2)


BODIES = {"tests": tests, "programs": programs, "kernels": bench("kernels", 2, 60), "head": bench("head", 2, 25),
          "attention": bench("attention", 2, 40), "train": train, "decode": decode, "profile": profile}


def device():
    """Name and driver, as nvidia-smi has them."""
    try:
        line = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], text=True,
                              capture_output=True, timeout=30).stdout.splitlines()[0]
        name, driver = (part.strip() for part in line.split(",")[:2])
    except (OSError, IndexError, ValueError, subprocess.TimeoutExpired):
        name, driver = "gpu", "?"
    words = [word for word in name.lower().split() if word not in ("nvidia", "tesla", "geforce")]
    return words[0] if words else "gpu", name, driver


def make_models(place):
    for name in ("qwen2", "qwen3"):
        place.run(f"model-{name}", [sys.executable, HERE / "make_model.py", PACKAGE / "data" / name, place.data / name], 60)


def main():
    global limit
    parser = argparse.ArgumentParser(prog="./dev gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--no-peers", action="store_true", help="r1c alone")
    parser.add_argument("--logs", type=pathlib.Path, default=ROOT / "build" / "gpu-logs",
                        help="where everything said is kept, and a copy of the results (default build/gpu-logs)")
    parser.add_argument("--limit", type=float, default=limit, metavar="SECONDS",
                        help=f"what is not over by then is given up, and the table printed (default {limit})")
    options = parser.parse_args()
    limit = options.limit
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part '{part}'; there are {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in (options.parts or PARTS)]
    if not (PACKAGE / "package.json").exists():
        sys.exit("gpu: no build/gpu/package.json; `./dev gpu` where the compiler is makes it")
    options.logs.mkdir(parents=True, exist_ok=True)
    short, name, driver = device()
    say(f"{name}, driver {driver}; {', '.join(parts)}")
    place = Place(options.logs.resolve())
    rows = report.Rows(json.loads((PACKAGE / "package.json").read_text())["commit"], name, driver)
    peers = Peers([] if options.no_peers else parts, place)
    failed = []
    try:
        if {"programs", "train", "decode", "profile"} & set(parts):
            try:
                make_models(place)
            except Failed as error:
                failed.append(f"models: {error}")
                say("FAILED", failed[-1])
        for part in parts:
            say(part)
            try:
                BODIES[part](place, peers, rows)
            except Failed as error:
                failed.append(f"{part}: {error}")
                say("FAILED", failed[-1])
            except Exception as error:  # the other parts are still worth their time
                failed.append(f"{part}: {type(error).__name__}: {error}")
                say("FAILED", failed[-1])
        rows.version = peers.version()
    finally:
        peers.end()
        shutil.rmtree(place.work, ignore_errors=True)
    rows.finish()
    rows.write(ROOT / "bench" / "results" / short, options.logs / "results")
    rows.table()
    for line in failed:
        print("FAILED", line)
    say("done")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
