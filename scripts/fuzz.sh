#!/usr/bin/env bash
# Fuzzing with the stable compiler: scripts/fuzz.sh image|compressed|message|bag|dataset [SECONDS, 60] [options of libFuzzer]
# libFuzzer follows coverage through LLVM's own pass. There is no address sanitizer (it needs a nightly compiler): what is found is
# panics, overflows, hangs and memory without bound. Inputs that fail are left in fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$1 seconds=${2:-60}
shift; [ $# = 0 ] || shift
host=$(rustc -vV | sed -n 's/^host: //p')
sancov=-Cllvm-args=-sanitizer-coverage
export RUSTFLAGS="-Cpasses=sancov-module $sancov-level=4 $sancov-inline-8bit-counters $sancov-pc-table $sancov-trace-compares -Cdebug-assertions"
# --target keeps the flags away from build scripts.
cargo build -q --release --manifest-path fuzz/Cargo.toml --target "$host" --bin "$target"
mkdir -p "fuzz/corpus/$target" fuzz/artifacts
export PIXIO_FUZZ_SEEDS=fuzz/corpus/$target
program=fuzz/target/$host/release/$target
"$program" -runs=0 > /dev/null 2>&1   # leaves its seeds
exec "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
  -artifact_prefix=fuzz/artifacts/ "$@" "fuzz/corpus/$target"
