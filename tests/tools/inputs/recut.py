#!/usr/bin/env python3
"""The same artifact with fewer slots a rollout and fewer rows a chunk.

usage: recut.py FROM.r1x TO.r1x SLOTS ROWS
"""
import json
import sys
import zipfile


def recut(command, rows):
    if command["op"] == "chunks":
        command["rows"] = rows
    for inner in command.get("body", []):
        recut(inner, rows)


source, target, slots, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
    for name in old.namelist():
        content = old.read(name)
        if name == "manifest.json":
            manifest = json.loads(content)
            for policy in manifest["policies"]:
                if "rollout" in policy:
                    assert policy["rollout"]["slots"] > slots
                    policy["rollout"]["slots"] = slots
            for stage in manifest["stages"]:
                for command in stage["body"]:
                    recut(command, rows)
            content = json.dumps(manifest)
        new.writestr(name, content)
