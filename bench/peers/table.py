"""table.py [NAME…]: one table of what bench/results/KIND/peers/ holds.

A line for each kind of work; where it stands for several cases (shapes, threads) it shows the worst of them, and the
geometric mean of all ratios beside. A ratio above 1 says that r1c is faster, or takes less memory.
"""

import json
import sys

import common

names = sys.argv[1:] or [path.stem for path in sorted(common.RESULTS.glob("*.json"))]
lines = [("what", "worst case", "peer", "", "r1c", "ratio", "mean", "goal", "", "of peak")]
for name in names:
    results = json.loads((common.RESULTS / f"{name}.json").read_text())
    kinds = {}
    for row in results["rows"]:
        kinds.setdefault(row["what"], []).append(row)
    for what, rows in kinds.items():
        worst = min(rows, key=lambda row: row["ratio"] / row["goal"])
        met = sum(row["ratio"] >= row["goal"] for row in rows)
        lines.append((what, worst["case"], results["peer"], common.number(worst["peer"], worst["unit"]),
                      common.number(worst["r1c"], worst["unit"]), f"{worst['ratio']:.2f}",
                      f"{common.geometric_mean(row['ratio'] for row in rows):.2f}" if len(rows) > 1 else "",
                      f"{worst['goal']:.1f}",
                      "met" if met == len(rows) else "missed" if len(rows) == 1 else f"{met} of {len(rows)} met",
                      f"{worst['share']:.0%}" if "share" in worst else ""))
widths = [max(map(len, column)) for column in zip(*lines)]
for line in lines:
    print("  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                    for i, (cell, width) in enumerate(zip(line, widths))).rstrip())
