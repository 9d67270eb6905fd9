#!/usr/bin/env bash
# The TensorRT-RTX library of PyPI (89 MB) builds every network for GPUs that are not there, and refuses hostile files; and NVRTC of
# two CUDA versions compiles the kernels for every GPU it knows. Prints tables; fails if an assertion does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source .pixio/setup.bash
folder=.pixio/referees-tensorrt
if [ ! -f "$folder/ready" ]; then
  rm -rf "$folder"; mkdir -p "$folder"
  python3 -m pip install -q --disable-pip-version-check --no-deps --target "$folder/rtx" tensorrt_rtx_cu12_libs==1.7.1.116
  for nvrtc in cu12==12.6.85 cu12==12.9.86; do
    python3 -m pip install -q --disable-pip-version-check --no-deps --target "$folder/nvrtc-${nvrtc##*==}" "nvidia-cuda-nvrtc-$nvrtc"
  done
  touch "$folder/ready"
fi
kernels() { PIXIO_NVRTC=$(find "$folder/nvrtc-$1" -name 'libnvrtc.so.1?' | head -1) python3 scripts/kernels.py compile "${@:2}"; }
kernels 12.6.85 compute_75 compute_87 compute_89
kernels 12.9.86 compute_75 compute_87 compute_89 compute_101 compute_120
export PIXIO_TENSORRT_RTX=$PWD/$folder/rtx/tensorrt_rtx_libs
cargo test --release -q --workspace --test rtx_library -- --ignored --nocapture --test-threads 1
