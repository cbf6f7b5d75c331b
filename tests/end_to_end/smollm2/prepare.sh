#!/usr/bin/env bash
# The model and the Python packages of the tests that need them, into DIR.
# usage: prepare.sh DIR
set -euo pipefail
source=$(dirname "$(readlink -f "$0")")/../../..
"$source/examples/smollm2/setup.sh" --model-only "$1"
# Without what they need for other things than the tests do.
"$1/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$source/tests/requirements.txt"
