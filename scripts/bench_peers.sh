#!/usr/bin/env bash
# Peers on the same work, interleaved with r1c; JSON goes to bench/results/KIND/peers/. Called by ./dev bench --peers.
# usage: bench_peers.sh [NAME…]     (default: all)
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
declare -A scripts=([attention]=pytorch_attention [head]=pytorch_head [llama_cpp]=llama_cpp [train]=pytorch_train [trl]=trl)
order=(attention head llama_cpp train trl)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=("${order[@]}")
for name in "${names[@]}"; do
  [ -n "${scripts[$name]:-}" ] || { echo "bench: no peer '$name'; there are ${order[*]}" >&2; exit 1; }
done

peers=build/peers
mkdir -p "$peers"
# Compiled models of PyTorch include Python's headers.
if ! python3 -c 'import os, sysconfig; exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || ! command -v g++ >/dev/null; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends g++ python3-dev >/dev/null
fi
[ -x "$peers/venv/bin/python" ] || python3 -m venv "$peers/venv"
if ! cmp -s bench/peers/requirements.txt "$peers/installed.txt"; then
  echo "bench: Python packages of the peers into $peers/venv (some gigabytes)" >&2
  "$peers/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
  cp bench/peers/requirements.txt "$peers/installed.txt"
fi
flock build/.lock ninja -C build r1c r1c-run bench_attention bench_head bench_peak >/dev/null

failed=()
for name in "${names[@]}"; do
  echo "== $name" >&2
  # Building a peer is no part of a measurement's time.
  if [ "$name" = llama_cpp ]; then "$peers/venv/bin/python" bench/peers/llama_cpp.py --build-only; fi
  timeout 900 "$peers/venv/bin/python" "bench/peers/${scripts[$name]}.py" || failed+=("$name")
done
echo
done_names=()
for name in "${names[@]}"; do [[ " ${failed[*]} " == *" $name "* ]] || done_names+=("$name"); done
[ ${#done_names[@]} -eq 0 ] || python3 bench/peers/table.py "${done_names[@]}"
[ ${#failed[@]} -eq 0 ] || { echo "bench: not measured: ${failed[*]}" >&2; exit 1; }
