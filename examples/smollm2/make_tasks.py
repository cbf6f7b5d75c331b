#!/usr/bin/env python3
"""Writes reasoning tasks of reasoning-gym as JSON lines: train.jsonl and held_out.jsonl.

Each line has "question" and "answer". The tasks are sums of two or three numbers and products of two, small
enough that a model of 135 million weights solves some of them. No question stands in both files.

usage: make_tasks.py [--train N] [--held-out N] [--seed N] OUT
Needs the package reasoning-gym.
"""
import argparse
import json
import pathlib
import sys

TASKS = {
    "chain_sum": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
    "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=int, default=600, help="lines of train.jsonl (default 600)")
    parser.add_argument("--held-out", type=int, default=64, help="lines of held_out.jsonl (default 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out", type=pathlib.Path, help="the directory to write into")
    arguments = parser.parse_args()
    try:
        import reasoning_gym
    except ImportError:
        sys.exit("make_tasks.py: error: the package reasoning-gym is not installed: pip install reasoning-gym")

    wanted = arguments.train + arguments.held_out
    tasks = [reasoning_gym.create_dataset(name, size=20 * wanted, seed=arguments.seed, **config)
             for name, config in TASKS.items()]
    lines = {}
    for entries in zip(*tasks):
        for entry in entries:
            lines.setdefault(entry["question"], str(entry["answer"]))
    if len(lines) < wanted:
        sys.exit(f"make_tasks.py: error: there are only {len(lines)} different questions, {wanted} were asked for")
    rows = [json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in list(lines.items())[:wanted]]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "held_out.jsonl").write_text("".join(rows[:arguments.held_out]))
    (arguments.out / "train.jsonl").write_text("".join(rows[arguments.held_out:]))
    print(f"{arguments.out}: {arguments.train} tasks in train.jsonl, {arguments.held_out} in held_out.jsonl")


if __name__ == "__main__":
    main()
