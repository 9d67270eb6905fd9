#!/usr/bin/env bash
# Everything about the engines that needs a GPU, in one table: the engine's own half of it without TensorRT, then with it build, verify,
# conformance, CUDA graphs, and latency beside trtexec. Exit code 1 if a row failed. NEVER RUN ON A GPU SO FAR: none was where this
# was written (docs/tensorrt.md says what of it ran against stand-ins).
#
#   scripts/gpu-check.sh [BUNDLE]      a bundle's folder; without one, Pixio-B/16 with random weights is made
#
# Needs an NVIDIA driver. Rows of TensorRT need it with its headers (on JetPack: tensorrt, tensorrt-dev; an archive: TENSORRT_INCLUDE_DIR
# and PIXIO_TENSORRT), those of TensorRT-RTX need TENSORRT_RTX_INCLUDE_DIR and PIXIO_TENSORRT_RTX. Run `make setup` before. For a
# machine that cannot build: scripts/gpu-pack.sh.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .pixio/setup.bash || exit 1
log=out/gpu-check
mkdir -p "$log"
rows=() failed=0
# Engines of this check alone: others that lie in the user's cache say nothing of this machine.
export PIXIO_CACHE=$PWD/$log/engines

# row NAME COMMAND...: runs it, keeps what it prints, and notes how it ended.
row() {
  local name=$1 file; shift
  file=$log/$(tr -c 'a-z0-9\n' '_' <<<"${name,,}").log
  if "$@" >"$file" 2>&1; then rows+=("passed|$name|$(grep -ho 'RESULT .*' "$file" | sed 's/RESULT //' | paste -sd ';')")
  else rows+=("FAILED|$name|$(grep -v '^$' "$file" | tail -1 | cut -c1-160) (see $file)"); failed=1; fi
  echo "${rows[-1]}" | tr '|' ' '
}
# A test of tests/gpu.rs, which is built once.
check() { row "$1" cargo test --release -q --workspace --test gpu -- --ignored --nocapture --test-threads 1 --exact "$2"; }

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
[ -f /etc/nv_tegra_release ] && head -1 /etc/nv_tegra_release
cargo build --release -q --workspace --bins || exit 1
cargo test --release -q --workspace --test gpu --no-run || exit 1
pixio=${CARGO_TARGET_DIR:-target}/release/pixio

bundle=${1:-$log/b16}
[ -d "$bundle" ] || "$pixio" import --random-weights 1 --architecture pixio-b16 --head depth=linear --head dpt=dpt \
  --size 256x256 --size 384x256 --out "$bundle" || exit 1
# Driver, memory, streams, the kernels' PTX, graphs: with networks that only copy.
for name in the_seam_holds pixels_equal_the_cpus frames_go_through_graphs a_wait_breaks_the_capture_alone frames_are_timed; do
  check "without TensorRT: ${name//_/ }" "without_tensorrt_$name"
done

flavours=()
# Not `grep -q`: it would end ldconfig before it has printed all, and with it this line.
PATH=$PATH:/sbin ldconfig -p | grep 'libnvinfer\.so' >/dev/null && flavours+=(tensorrt)
[ -n "${PIXIO_TENSORRT:-}" ] && [[ " ${flavours[*]} " != *" tensorrt "* ]] && flavours+=(tensorrt)
[ -n "${PIXIO_TENSORRT_RTX:-}" ] && flavours+=(tensorrt-rtx)
[ ${#flavours[@]} = 0 ] && rows+=("absent|TensorRT|neither libnvinfer nor PIXIO_TENSORRT nor PIXIO_TENSORRT_RTX is there")

for flavour in ${flavours[@]+"${flavours[@]}"}; do
  row "$flavour doctor" "$pixio" doctor --engine "$flavour" --bundle "$bundle" --skip graph
  for precision in fp32 fp16; do
    on=(--engine "$flavour" --precision "$precision")
    row "$flavour $precision build" "$pixio" build "$bundle" "${on[@]}"
    row "$flavour $precision verify" "$pixio" verify "$bundle" "${on[@]}"
    row "$flavour $precision bench" bash -o pipefail -c '"$@" | tee /dev/stderr | awk "\$1 == \"whole\" {print \"RESULT frame p50 \" \$2 \" ms, p99 \" \$4 \" ms\"}"' \
      bench "$pixio" bench "$bundle" "${on[@]}" --frame 1280x720 --frames 300 --warm-up 20
  done
  export PIXIO_GPU_FLAVOUR=$flavour PIXIO_GPU_BUNDLE=$(realpath "$bundle")
  for name in the_seam_holds tensors_are_shared operations_are_pytorchs frames_are_captured_and_timed; do
    check "$flavour: ${name//_/ }" "$name"
  done
done

# The backbone's own time by NVIDIA's tool, beside the frames above.
trtexec=$(command -v trtexec || ls /usr/src/tensorrt/bin/trtexec 2>/dev/null || true)
if [ -n "$trtexec" ]; then
  for plan in "$PIXIO_CACHE"/backbone-*.plan; do
    grep -q 'flavour = "tensorrt"' "${plan%.plan}.toml" || continue
    about=$(sed -n 's/^precision = "\(.*\)"/\1/p; s/^ports = ".*, \([0-9]*\), \([0-9]*\)\] ->.*/\2x\1/p' "${plan%.plan}.toml" | paste -sd ' ')
    row "trtexec backbone $about" bash -o pipefail -c \
      '"$0" --loadEngine="$1" --useCudaGraph --noDataTransfers --useSpinWait | tee /dev/stderr | sed -n "s/.*GPU Compute Time: .*median = \([0-9.]* ms\).*/RESULT GPU compute median \1/p"' \
      "$trtexec" "$plan"
  done
else
  rows+=("absent|trtexec|not found; nothing to compare latency with")
fi

echo
printf '%s\n' "${rows[@]}" | column -t -s '|'
exit $failed
