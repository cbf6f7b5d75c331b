#!/usr/bin/env python3
"""Every r1c command of the README runs as printed.

usage: readme.py SOURCE BUILD WORK_DIR
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

source, build, work = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
(work / "build").symlink_to(build)
(work / "examples").symlink_to(source / "examples")

text = (source / "README.md").read_text()
commands = [line.split("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", text, re.S)
            for line in block.splitlines()]
# ./dev demo and ./dev test are tests of their own.
commands = [c for c in commands if c and not c.startswith("./dev")]
# Commands in running text.
commands += [c for c in re.findall(r"`(build/bin/[^`]+)`", text) if "dumps/" in c]
assert len(commands) >= 5, commands
# The compiler is there without CUDA's assembler, but for this.
if not shutil.which("ptxas", path=os.environ.get("PATH", "") + ":/usr/local/cuda/bin"):
    left = [c for c in commands if re.search("--target=h[0-9]+", c)]
    print("left out, no ptxas:", left)
    commands = [c for c in commands if c not in left]
if not (shutil.which("mpirun") and (build / "lib" / "libr1c_mpi.so").exists()):
    left = [c for c in commands if c.startswith("mpirun")]
    print("left out, no MPI:", left)
    commands = [c for c in commands if c not in left]
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1")
for command in commands:
    result = subprocess.run(command, shell=True, cwd=work, env=environment, capture_output=True, text=True)
    print(f"{'ok    ' if result.returncode == 0 else 'FAILED'} {command}")
    assert result.returncode == 0, result.stderr[-2000:]
