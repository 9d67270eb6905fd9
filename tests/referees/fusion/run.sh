#!/usr/bin/env bash
# Simulated camera paths through the nodes over ROS 2, fused by Open3D's TSDF, against the scenes. Called by ../run.sh, in the
# environment of .pixio/setup.bash; Open3D (with what it needs, 500 MB) goes to .pixio/open3d, unless PIXIO_OPEN3D names its folder.
#
#   tests/referees/fusion/run.sh                                true depth
#   tests/referees/fusion/run.sh engines/bundles/tabletop-tiny  and the depth that a bundle predicts in the simulated robot's cell (128x128)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
home=${PIXIO_OPEN3D:-$PWD/.pixio/open3d}
bin=$PWD/${CARGO_TARGET_DIR:-target}/release
out=$PWD/out/fusion
if [ ! -f "$home/ready" ]; then
  /usr/bin/env python3.11 -m venv "$home"
  "$home/bin/pip" install -q open3d-cpu==0.20.0
  # A library of the wheel's that Debian has, without installing it.
  (cd "$home" && apt-get download -qq libusb-1.0-0 && dpkg-deb -x libusb-1.0-0_*.deb system)
  touch "$home/ready"
fi
source scripts/isolated.bash
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
film() { python tests/referees/fusion/film.py --bin "$bin" "$@"; }
film --depth true --out "$kept/room.npz"
film --depth errors --out "$kept/errors.npz"
predicted=()
if [ $# -gt 0 ]; then
  tests/sim/setup.sh
  .pixio/sim/bin/python tests/referees/fusion/cell.py --out "$kept/frames.npz"
  film --frames "$kept/frames.npz" --depth true --out "$kept/cell.npz"
  film --frames "$kept/frames.npz" --depth predicted --bundle "$1" --out "$kept/predicted.npz"
  predicted=(--cell "$kept/cell.npz" --predicted "$kept/predicted.npz")
fi
env -u LD_PRELOAD LD_LIBRARY_PATH="$home/system/usr/lib/x86_64-linux-gnu" \
  "$home/bin/python" tests/referees/fusion/fuse.py --room "$kept/room.npz" --errors "$kept/errors.npz" "${predicted[@]}" --pictures "$out"
echo "pictures of the meshes: $out"
