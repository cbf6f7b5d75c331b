"""fuzz.py R1C STEPS [--count N] [--seconds S] [--seed N] [--keep DIR] [--to PHASE]

Checks mutated step files. What is found wrong: an exit status other than 0 and
1, more than five seconds, an error without a word on standard error. The same
seed gives the same files; --seconds goes on until the time is over.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

WORDS = """( ) [ ] { } , . ; = := == != < > <= >= + - * / % " ` // where if else and or not every steps metric minimize
return loss fn param policy data stage extern import token sequence group batch rollout step mean sum quantile any all
first last std var suffix_sum logp entropy value sample read update save write adamw jsonl chat file mix llama load
characters stop clip min max exp log equal matches between words count run program number text flag o.text o.logp
0 1 -1 0.5 1e308 1e-320 9e15 1e18 2147483648 0/0 1/0 "" "{" `(` \\ \n é \0""".split(" ")


def mutate(source, others, random):
    pieces = source.splitlines(keepends=True)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        kind = random.randrange(8)
        text = "".join(pieces)
        at = random.randrange(len(text) + 1)
        if kind == 0:  # a line twice, gone, or elsewhere
            line = random.randrange(len(pieces) or 1)
            if pieces:
                moved = pieces.pop(line) if random.random() < 0.7 else pieces[line]
                if random.random() < 0.6:
                    pieces.insert(random.randrange(len(pieces) + 1), moved)
            continue
        if kind == 1:  # a line of another file
            pieces.insert(random.randrange(len(pieces) + 1), random.choice(random.choice(others)))
            continue
        if kind == 2:
            text = text[:at] + random.choice(WORDS) + text[at:]
        elif kind == 3:  # a word for a word
            end = at
            while end < len(text) and (text[end].isalnum() or text[end] == "_"):
                end += 1
            text = text[:at] + random.choice(WORDS) + text[end:]
        elif kind == 4:
            text = text[:at] + text[at + random.randrange(1, 20):]
        elif kind == 5:  # a name for a name
            names = [w for w in text.replace("(", " ").replace(")", " ").replace(",", " ").split() if w.isidentifier()]
            if len(names) > 1:
                text = text.replace(random.choice(names), random.choice(names), random.choice([1, -1]))
        elif kind == 6:  # a stretch again
            end = min(len(text), at + random.randrange(1, 80))
            text = text[:end] + text[at:end] * random.choice([1, 1, 2, 300]) + text[end:]
        else:
            text = text[:at] + chr(random.randrange(256)) + text[at + 1:]
        pieces = text.splitlines(keepends=True)
    return "".join(pieces)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("r1c")
    parser.add_argument("steps", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--to", default="check")
    options = parser.parse_args()

    rng = random.Random(options.seed)
    files = sorted(options.steps.rglob("*.r1"))
    sources = [file.read_text() for file in files]
    lines = [source.splitlines(keepends=True) for source in sources]
    began, tried, accepted, found = time.monotonic(), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "t.r1"
        while (time.monotonic() - began < options.seconds) if options.seconds else (tried < options.count):
            text = mutate(rng.choice(sources), lines, rng).encode("utf-8", "surrogateescape")
            path.write_bytes(text)
            what = None
            try:
                done = subprocess.run([options.r1c, "compile", str(path), "--compile-to=" + options.to],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=5)
                if done.returncode not in (0, 1):
                    what = f"exit status {done.returncode}"
                elif done.returncode == 1 and b"error: " not in done.stderr:
                    what = "refused without a word"
                elif b"<unknown>" in done.stderr or b"loc(unknown)" in done.stderr:
                    what = "an error without a place"
                accepted += done.returncode == 0
            except subprocess.TimeoutExpired:
                what = "no end after 5 s"
            tried += 1
            if what:
                found += 1
                print(f"{what}: mutation {tried} of seed {options.seed}", flush=True)
                if options.keep:
                    options.keep.mkdir(exist_ok=True)
                    (options.keep / f"{options.seed}-{tried}.r1").write_bytes(text)
    print(f"{tried} files, {accepted} of them accepted, {found} found wrong")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
