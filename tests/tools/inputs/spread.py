#!/usr/bin/env python3
"""The same artifact without shared memory: every buffer of the activations has
a place of its own. Fails where nothing was shared.

usage: spread.py FROM.r1x TO.r1x
"""
import json
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as old, zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_STORED) as new:
    for name in old.namelist():
        content = old.read(name)
        if name == "manifest.json":
            manifest = json.loads(content)
            arena = next(a for a in manifest["arenas"] if a["name"] == "activations")
            top = 0
            for buffer in manifest["buffers"]:
                if buffer["arena"] == "activations":
                    assert buffer["offset"] + buffer["bytes"] <= arena["bytes"]
                    buffer["offset"] = top
                    top += (buffer["bytes"] + 63) // 64 * 64
            assert arena["bytes"] < top, (arena["bytes"], top)
            arena["bytes"] = top
            content = json.dumps(manifest)
        new.writestr(name, content)
