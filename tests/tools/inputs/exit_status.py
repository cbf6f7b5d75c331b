"""exit_status.py N COMMAND...: whether the command ends with exactly N."""

import subprocess
import sys

status = subprocess.run(sys.argv[2:]).returncode
if status != int(sys.argv[1]):
    sys.exit(f"exit status {status} of {' '.join(sys.argv[2:])}")
