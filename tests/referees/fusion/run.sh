#!/usr/bin/env bash
# A simulated camera path through the nodes over ROS 2, fused by Open3D's TSDF, against the scene. Called by ../run.sh, in the
# environment of .pixio/setup.bash; Open3D (with what it needs, 500 MB) goes to .pixio/open3d.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
home=$PWD/.pixio/open3d
bin=$PWD/${CARGO_TARGET_DIR:-target}/release
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
python tests/referees/fusion/film.py --bin "$bin" --out "$kept/true.npz"
python tests/referees/fusion/film.py --bin "$bin" --errors --out "$kept/errors.npz"
env -u LD_PRELOAD LD_LIBRARY_PATH="$home/system/usr/lib/x86_64-linux-gnu" \
  "$home/bin/python" tests/referees/fusion/fuse.py --true "$kept/true.npz" --errors "$kept/errors.npz"
