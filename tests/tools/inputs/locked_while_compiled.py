"""locked_while_compiled.py OUT COMMAND...: the command, a run into OUT, holds the
lock of that folder before its artifact is there."""

import pathlib
import subprocess
import sys

out = pathlib.Path(sys.argv[1])
run = subprocess.Popen(sys.argv[2:])
locked = False
while run.poll() is None and not (out / "step.r1x").exists():
    if out.exists():
        inode = f":{out.stat().st_ino} "
        held = any(inode in line and f" {run.pid} " in line for line in open("/proc/locks"))
        locked |= held and not (out / "step.r1x").exists()
if run.wait() != 0 or not locked:
    sys.exit(f"exit status {run.returncode}, locked {locked}")
