#!/usr/bin/env bash
# Measurements side by side, by hand, on a quiet machine: `make bench` (all, about half an hour) or `make bench BENCHES="engines cameras"`.
# What is printed goes to out/bench/<name>.md too. Called in the environment of .pixio/setup.bash, with everything built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/bench/setup.sh
. scripts/isolated.bash
bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
export PIXIO_BIN=$bin FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml FASTDDS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml
python=.pixio/bench/bin/python out=out/bench
mkdir -p "$out"
[ $# -gt 0 ] || set -- engines preprocess stages round_trip cameras soak curves record policy

# NAME COMMAND...: runs it and keeps what it prints; one that fails is told at the end, after the others.
failed=
measure() {
  echo "== $1"
  "${@:2}" | tee "$out/$1.md" || failed+=" $1"
}

for bench in "$@"; do
  case $bench in
    engines) measure engines "$python" tests/bench/engines.py --int8 --json "$out/engines.json" ;;
    preprocess) measure preprocess "$python" tests/bench/preprocess.py ;;
    stages)
      [ -f "$out/b16/model.toml" ] || "$bin/pixio" import --random-weights 1 --architecture pixio-b16 --head depth=linear \
        --size 256x256 --out "$out/b16" > /dev/null
      measure stages "$bin/pixio" bench "$out/b16" --seconds 20 ;;
    round_trip) measure round_trip "$python" tests/bench/round_trip.py --json "$out/round_trip.json" ;;
    cameras)
      measure cameras "$python" tests/bench/cameras.py --architecture pixio-tiny16 --json "$out/cameras.json"
      measure cameras_b16 "$python" tests/bench/cameras.py --json "$out/cameras_b16.json" ;;
    soak) measure soak "$python" tests/bench/soak.py --seconds "${SOAK_SECONDS:-300}" --json "$out/soak.json" ;;
    curves)
      [ -f "$out/cameras.json" ] || "$python" tests/bench/cameras.py --architecture pixio-tiny16 --json "$out/cameras.json"
      measure curves "$python" tests/bench/curves.py --cameras "$out/cameras.json" --out "$out/speed.png" --json "$out/curves.json" ;;
    record) measure record python tests/bench/record.py ;;
    policy) measure policy python tests/bench/policy.py ;;
    *) echo "bench: expected engines, preprocess, stages, round_trip, cameras, soak, curves, record or policy, got $bench" >&2; exit 2 ;;
  esac
done
[ -z "$failed" ] || { echo "bench: failed:$failed" >&2; exit 1; }
