#!/usr/bin/env bash
# Everything about the TensorRT engine that needs a GPU: build, verify, conformance, CUDA graphs, latency beside trtexec. Prints
# one table; exit code 1 if a row failed. NEVER RUN SO FAR: no GPU was where this was written.
#
#   scripts/gpu-check.sh [BUNDLE]      a bundle's folder; without one, Pixio-B/16 with random weights is made
#
# Needs an NVIDIA driver, and TensorRT with its headers (on JetPack: tensorrt, tensorrt-dev) or TensorRT-RTX with
# TENSORRT_RTX_INCLUDE_DIR and PIXIO_TENSORRT_RTX set. Run `make setup` before.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .pixio/setup.bash
log=out/gpu-check
mkdir -p "$log"
rows=() failed=0

# row NAME COMMAND...: runs it, keeps what it prints, and notes how it ended.
row() {
  local name=$1 file; shift
  file=$log/$(tr -c 'a-z0-9\n' '_' <<<"${name,,}").log
  if "$@" >"$file" 2>&1; then rows+=("passed|$name|$(grep -ho 'RESULT .*' "$file" | sed 's/RESULT //' | paste -sd ';')")
  else rows+=("FAILED|$name|$(tail -1 "$file") (see $file)"); failed=1; fi
}

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
[ -f /etc/nv_tegra_release ] && head -1 /etc/nv_tegra_release
cargo build --release -q --workspace --bins || exit 1
pixio=${CARGO_TARGET_DIR:-target}/release/pixio

bundle=${1:-$log/b16}
[ -d "$bundle" ] || "$pixio" import --random-weights 1 --architecture pixio-b16 --head depth=linear --head dpt=dpt \
  --size 256x256 --size 384x256 --out "$bundle" || exit 1

flavours=()
ldconfig -p | grep -q 'libnvinfer\.so' && flavours+=(tensorrt)
[ -n "${PIXIO_TENSORRT:-}" ] && [[ " ${flavours[*]} " != *" tensorrt "* ]] && flavours+=(tensorrt)
[ -n "${PIXIO_TENSORRT_RTX:-}" ] && flavours+=(tensorrt-rtx)
[ ${#flavours[@]} = 0 ] && { echo "gpu-check: found neither libnvinfer nor PIXIO_TENSORRT_RTX" >&2; exit 1; }

for flavour in "${flavours[@]}"; do
  for precision in fp32 fp16; do
    row "$flavour $precision build" "$pixio" build "$bundle" --engine "$flavour" --precision "$precision"
    row "$flavour $precision verify" "$pixio" verify "$bundle" --engine "$flavour" --precision "$precision"
  done
  export PIXIO_GPU_FLAVOUR=$flavour PIXIO_GPU_BUNDLE=$(realpath "$bundle")
  for check in the_seam_holds tensors_are_shared operations_are_pytorchs frames_are_captured_and_timed; do
    row "$flavour $check" cargo test --release -q --workspace --test gpu -- --ignored --nocapture --exact "$check"
  done
done

# The backbone's own time by NVIDIA's tool, beside the frames above.
trtexec=$(command -v trtexec || ls /usr/src/tensorrt/bin/trtexec 2>/dev/null || true)
if [ -n "$trtexec" ]; then
  cache=${PIXIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pixio/engines}
  for plan in "$cache"/backbone-*.plan; do
    grep -q 'flavour = "tensorrt"' "${plan%.plan}.toml" || continue
    about=$(sed -n 's/^precision = "\(.*\)"/\1/p; s/^ports = ".*, \([0-9]*\), \([0-9]*\)\] ->.*/\2x\1/p' "${plan%.plan}.toml" | paste -sd ' ')
    row "trtexec backbone $about" bash -c \
      '"$0" --loadEngine="$1" --useCudaGraph --noDataTransfers --useSpinWait | tee /dev/stderr | sed -n "s/.*GPU Compute Time: .*median = \([0-9.]* ms\).*/RESULT GPU compute median \1/p"' \
      "$trtexec" "$plan"
  done
else
  rows+=("absent|trtexec|not found; nothing to compare latency with")
fi

echo
printf '%s\n' "${rows[@]}" | column -t -s '|'
exit $failed
