#!/usr/bin/env bash
# Kernel benchmarks beside named peers; JSON goes to bench/results/KIND/, by the kind of CPU.
# Called by ./dev bench after a build.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
for word in "$@"; do
  case $word in
  -h | --help)
    cat <<'TXT'
usage: ./dev bench                             kernel benchmarks; results in bench/results/KIND/
       ./dev bench --benchmark_filter=REGEX …  some of them, or with other options of Google Benchmark: shown, not recorded
       ./dev bench --peers [NAME…]             whole pieces of work beside peers: attention, head, llama_cpp, train, trl
TXT
    exit
    ;;
  esac
done
if [ "${1:-}" = --peers ]; then shift; exec scripts/bench_peers.sh "$@"; fi

# The peer is optional: without it only r1c's own numbers are taken.
if ! dpkg-query -W -f='${Status}' libdnnl-dev 2>/dev/null | grep -q 'ok installed'; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends libdnnl-dev >/dev/null || echo "bench: no oneDNN (libdnnl-dev); going on without" >&2
  cmake build >/dev/null
fi
flock build/.lock ninja -C build bench_matmul bench_layers >/dev/null

R1C_COMMIT=$(git rev-parse --short HEAD)
export R1C_COMMIT
# Results are of every benchmark, each measured as the others.
if [ $# -gt 0 ]; then
  build/bin/bench_matmul "$@"
  build/bin/bench_layers "$@"
  echo "bench: options were given: bench/results/ is left as it was" >&2
  exit
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
build/bin/bench_matmul --benchmark_out="$out/matmul.json" --benchmark_out_format=json
build/bin/bench_layers --benchmark_out="$out/layers.json" --benchmark_out_format=json
results=bench/results/$(python3 -c 'import sys; sys.path.insert(0, "bench/peers"); import common; print(common.kind())')
mkdir -p "$results"
python3 scripts/condense.py "$out/matmul.json" "$results/matmul.json"
python3 scripts/condense.py "$out/layers.json" "$results/layers.json"
