#!/usr/bin/env python3
"""`r1c check` over the language's own programs and the examples.

usage: check_steps.py R1C STEPS_DIR EXAMPLES_DIR

Every loss of every program must be within its bounds, on random numbers of a
fresh seed; what is not supported yet is refused by name. The programs load
their policies, for all of which one and the same network stands: it is checked
once.
"""
import json
import os
import pathlib
import random
import subprocess
import sys

from run_steps import REFUSED

SEED = os.environ.get("R1C_TEST_SEED", str(random.SystemRandom().randrange(2**32)))


def check(r1c, source, *flags):
    result = subprocess.run([r1c, "check", source, "--json", "--seed", SEED, *flags],
                            capture_output=True, text=True, timeout=300)
    if source.stem in REFUSED:
        words = REFUSED[source.stem]
        refused = result.returncode == 1 and words in result.stderr
        return 0, [] if refused else [f"must be refused with '{words}': {result.stderr[-600:]}"]
    if not result.stdout:
        return 0, [f"exit code {result.returncode}: {result.stderr[-600:]}"]
    report = json.loads(result.stdout)
    rows = [(section["title"], row) for section in report["sections"] for row in section["rows"]]
    problems = [f"{title}: {row['what']}: {row['relative']} beyond {row['bound']} {row['remark']}"
                for title, row in rows if not row["ok"]]
    if report["ok"] != (not problems) or report["ok"] != (result.returncode == 0):
        problems.append(f"exit code {result.returncode} with ok = {report['ok']}")
    return len(rows), problems


def main():
    r1c, steps, examples = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    print(f"R1C_TEST_SEED={SEED}")
    runs = [(source, ["--skip-network"]) for source in sorted(steps.glob("*.r1"))]
    runs += [(source, ["--skip-network"]) for source in sorted(examples.glob("*/step.r1"))]
    runs.append((steps / "dapo.r1", []))
    failed = checked = 0
    for source, flags in runs:
        rows, problems = check(r1c, source, *flags)
        checked += rows
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok    '} {source.parent.name}/{source.stem} ({rows} rows)")
        for problem in problems:
            print(f"  {problem}")
    # Fewer would mean that programs or rows have got lost.
    assert checked >= 150, checked
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
