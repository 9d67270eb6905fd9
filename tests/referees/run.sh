#!/usr/bin/env bash
# Checks against heavy third parties, by hand: `make referees`. Needs some gigabytes for PyTorch, in .pixio/referees.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.pixio/referees
if [ ! -f "$venv/ready" ]; then
  /usr/bin/env python3.11 -m venv "$venv"
  "$venv/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 transformers==5.23.0 onnxruntime==1.32.0 safetensors pillow numpy
  touch "$venv/ready"
fi
"$venv/bin/python" tests/referees/pixio_b.py --pixio-tool "${CARGO_TARGET_DIR:-target}/release/pixio"
# OpenCV's own pictures of a chessboard, in a package of 96 MB.
if [ ! -d .pixio/opencv-doc ]; then
  (cd .pixio && apt-get download -qq opencv-doc && dpkg-deb -x opencv-doc_*.deb opencv-doc.part && rm opencv-doc_*.deb)
  mv .pixio/opencv-doc.part .pixio/opencv-doc
fi
"$venv/bin/pip" install -q opencv-python-headless==4.12.0.88 --no-deps
"$venv/bin/python" tests/referees/opencv_boards.py --pixio-tool "${CARGO_TARGET_DIR:-target}/release/pixio" \
  --pictures .pixio/opencv-doc/usr/share/doc/opencv-doc/examples/data
# Readers of bags and datasets.
readers=.pixio/readers
if [ ! -f "$readers/ready" ]; then
  /usr/bin/env python3.11 -m venv "$readers"
  "$readers/bin/pip" install -q rosbags==0.11.9 mcap==1.6.0 mcap-ros2-support==0.6.0 lerobot-doctor==0.2.0
  touch "$readers/ready"
fi
sample=$(mktemp -d)
trap 'rm -rf "$sample"' EXIT
"${CARGO_TARGET_DIR:-target}/release/examples/sample_episode" "$sample/sample"
"$readers/bin/python" tests/referees/recordings.py "$sample/sample"
# LeRobot's own loader (5.4 GB with PyTorch), which wants Python 3.12.
lerobot=.pixio/lerobot
if [ ! -f "$lerobot/ready" ]; then
  for python in python3.12 python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23].*/bin/python; do
    # Shims of pyenv are there for versions that it does not choose, too.
    if "$python" -c 'import ssl' 2> /dev/null; then
      "$python" -m venv "$lerobot"
      "$lerobot/bin/pip" install -q 'lerobot[dataset]==0.6.1'
      touch "$lerobot/ready"
      break
    fi
  done
fi
if [ -f "$lerobot/ready" ]; then
  "$lerobot/bin/python" tests/referees/lerobot_dataset.py "$sample/sample/dataset" --pixio-tool "${CARGO_TARGET_DIR:-target}/release/pixio"
else
  echo 'referees: NOT RUN: LeRobot 0.6 itself (tests/referees/lerobot_dataset.py): there is no Python 3.12 or newer' >&2
fi
# The simulated cell: its depth against MuJoCo's rays, its pictures against themselves, its expert against the tasks.
tests/sim/setup.sh
.pixio/sim/bin/python tests/sim/check.py
# Real builds by the TensorRT-RTX library, and the kernels by two versions of NVRTC (400 MB).
tests/referees/tensorrt_rtx.sh
# Depth, camera_info and poses from topics, fused by Open3D.
tests/referees/fusion/run.sh engines/bundles/tabletop-tiny
