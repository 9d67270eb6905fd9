#!/usr/bin/env bash
# Everything about the engines that needs a GPU, in one table: the engine's own half of it without TensorRT, then with it build, verify,
# conformance, CUDA graphs, and latency beside trtexec. Exit code 1 if a row failed. NEVER RUN ON A GPU SO FAR: none was where this
# was written (docs/tensorrt.md says what of it ran against stand-ins).
#
#   scripts/gpu-check.sh [BUNDLE]      a bundle's folder; without one, Pixio-B/16 with random weights is made
#                                      (logs go to OUT, by default out/gpu-check; FRAMES, by default 300, are timed)
#
# Needs an NVIDIA driver. Rows of TensorRT need it with its headers (on JetPack: tensorrt, tensorrt-dev; an archive: TENSORRT_INCLUDE_DIR
# and PIXIO_TENSORRT), those of TensorRT-RTX need TENSORRT_RTX_INCLUDE_DIR and PIXIO_TENSORRT_RTX. Source ROS 2 and run `make setup`
# before. For a machine that cannot build: scripts/gpu-pack.sh. On a Jetson, latencies are those of its power mode (nvpmodel,
# jetson_clocks).
set -uo pipefail
given=${1:+$(realpath -m "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .pixio/setup.bash || exit 1
[ -n "${AMENT_PREFIX_PATH:-}" ] || { echo "gpu-check.sh: source ROS 2 first, as for make setup" >&2; exit 1; }
log=${OUT:-out/gpu-check}
frames=${FRAMES:-300}
mkdir -p "$log"
bundle=${given:-$(realpath "$log")/b16}
[ -d "$bundle" ] || [ -z "$given" ] || { echo "gpu-check.sh: $bundle: expected a bundle's folder" >&2; exit 1; }
rows=() failed=0
# Engines of this run alone: a row about a build must build.
export PIXIO_CACHE=$(realpath "$log")/gpu-check-engines
rm -rf "$PIXIO_CACHE"

# Why a command failed, of what it printed: what a test panicked with, what the doctor found, a number that is wrong, else the last line.
reason() {
  { grep -A1 -m1 'panicked at' "$1" || grep -m1 -e '^FAIL ' -e 'OUT OF TOLERANCE' "$1" || grep -v '^$' "$1"; } | tail -1 | tr '|' '/' | cut -c1-160
}

# row NAME COMMAND...: runs it, keeps what it prints, and notes how it ended.
row() {
  local name=$1 file; shift
  file=$log/$(tr -c 'a-z0-9\n' '_' <<<"${name,,}").log
  if "$@" >"$file" 2>&1; then rows+=("passed|$name|$(grep -ho 'RESULT .*' "$file" | sed 's/RESULT //' | paste -sd ';')")
  else rows+=("FAILED|$name|$(reason "$file") (see $file)"); failed=1; fi
  echo "${rows[-1]}" | tr '|' ' '
}
absent() { rows+=("absent|$1|$2"); }

# A test of tests/gpu.rs, which is built once. One that is not there would pass as well.
gpu_test() {
  local said status
  said=$(cargo test --release -q --workspace --test gpu -- --ignored --nocapture --test-threads 1 --exact "$1" 2>&1)
  status=$?
  printf '%s\n' "$said"
  [ $status = 0 ] && { grep -q 'test result: ok. 1 passed' <<<"$said" || { echo "there is no test $1"; false; }; }
}
check() { row "$1" gpu_test "$2"; }

bench() {
  local said
  said=$("$pixio" bench "$@") || { printf '%s\n' "$said"; return 1; }
  printf '%s\n' "$said"
  awk '$1 == "end_to_end" { print "RESULT frame p50 " $2 " ms, p99 " $4 " ms"; found = 1 } END { exit !found }' <<<"$said"
}

compute_time() {
  local said
  said=$("$trtexec" --loadEngine="$1" --useCudaGraph --noDataTransfers --useSpinWait 2>&1) || { printf '%s\n' "$said"; return 1; }
  printf '%s\n' "$said"
  sed -n 's/.*GPU Compute Time: .*median = \([0-9.]* ms\).*/RESULT GPU compute median \1/p' <<<"$said" | grep RESULT
}

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
[ -f /etc/nv_tegra_release ] && head -1 /etc/nv_tegra_release
command -v nvpmodel >/dev/null && nvpmodel -q 2>/dev/null
cargo build --release -q --workspace --bins || exit 1
cargo test --release -q --workspace --test gpu --no-run || exit 1
pixio=${CARGO_TARGET_DIR:-target}/release/pixio

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
[ ${#flavours[@]} = 0 ] && absent TensorRT "neither libnvinfer nor PIXIO_TENSORRT nor PIXIO_TENSORRT_RTX is there"

for flavour in ${flavours[@]+"${flavours[@]}"}; do
  precisions=(fp32 fp16)
  if [ "$flavour" = tensorrt-rtx ] && nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | grep -qx 7.5; then
    precisions=(fp16)
    absent "$flavour fp32" "the library has no float32 matrix products for sm_75"
  fi
  row "$flavour doctor" "$pixio" doctor --engine "$flavour" --bundle "$bundle" --skip ros --skip transport --skip memory --skip graph
  for precision in "${precisions[@]}"; do
    on=(--engine "$flavour" --precision "$precision")
    row "$flavour $precision build" "$pixio" build "$bundle" "${on[@]}"
    row "$flavour $precision verify" "$pixio" verify "$bundle" "${on[@]}"
    row "$flavour $precision bench" bench "$bundle" "${on[@]}" --frame 1280x720 --frames "$frames" --warm-up 20
  done
  export PIXIO_GPU_FLAVOUR=$flavour PIXIO_GPU_PRECISIONS="${precisions[*]}" PIXIO_GPU_BUNDLE=$bundle
  # What an operation computes, and what networks share, is compared in fp32.
  in_fp32=(tensors_are_shared operations_are_pytorchs)
  [ "${precisions[0]}" = fp32 ] || in_fp32=()
  for name in the_seam_holds ${in_fp32[@]+"${in_fp32[@]}"} frames_are_captured_and_timed; do
    check "$flavour: ${name//_/ }" "$name"
  done
done

# The backbone's own time by NVIDIA's tool, beside the frames above.
trtexec=$(command -v trtexec || ls /usr/src/tensorrt/bin/trtexec 2>/dev/null || true)
if [ -n "$trtexec" ]; then
  for plan in "$PIXIO_CACHE"/backbone-*.plan; do
    grep -qs 'flavour = "tensorrt"' "${plan%.plan}.toml" || continue
    about=$(sed -n 's/^precision = "\(.*\)"/\1/p; s/^ports = ".*, \([0-9]*\), \([0-9]*\)\] ->.*/\2x\1/p' "${plan%.plan}.toml" | paste -sd ' ')
    row "trtexec backbone $about" compute_time "$plan"
  done
else
  absent trtexec "not found; nothing to compare latency with"
fi

echo
if command -v column >/dev/null; then printf '%s\n' "${rows[@]}" | column -t -s '|'
else printf '%s\n' "${rows[@]}" | tr '|' '\t'; fi
exit $failed
