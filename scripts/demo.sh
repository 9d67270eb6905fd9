#!/usr/bin/env bash
# Pictures over ROS 2 into perception_node, and what comes out: of the simulated cell for the bundle that was trained on it, photographs
# for any other (PIXIO_BUNDLE). `make demo` calls this in its environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-15}
bin=${CARGO_TARGET_DIR:-target}/release
out=out/demo
mkdir -p "$out"

echo "demo: building (the first time takes some minutes)"
cargo build --release -q --workspace --bins --examples

photos=tests/photos names=(coffee.jpg chelsea.jpg rocket.jpg astronaut.jpg) camera=photos_60deg_432x288
bundle=${PIXIO_BUNDLE:-engines/bundles/tabletop-tiny}
if [ -z "${PIXIO_BUNDLE:-}" ]; then
  photos=tests/photos/cell names=(hammer.png button.png drawer.png bins.png) camera=cell_50deg_128x128
fi
if [ ! -f "$bundle/model.toml" ]; then
  "$bin/pixio" import --random-weights 1 --architecture pixio-b16 --head depth=linear \
    --size 384x256 --out "$bundle" > "$out/import.log"
fi
printf -v images "'$photos/%s', " "${names[@]}"

. scripts/isolated.bash
export FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml FASTDDS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml

children=()
stop() {
  trap - EXIT INT TERM
  [ ${#children[@]} = 0 ] || kill -INT "${children[@]}" 2>/dev/null || true
  wait || true
}
trap stop EXIT
# Ctrl-C reaches the viewer too, which then sums up.
trap ':' INT
trap 'exit 143' TERM

"$bin/perception_node" --ros-args -p bundle:="$bundle" -r __ns:=/demo -r image:=/camera/image -r camera_info:=/camera/camera_info \
  > "$out/perception_node.log" 2>&1 &
children+=($!)
"$bin/camera_node" --ros-args -r __ns:=/camera -p rate_hz:=10.0 \
  -p images:="[${images%, }]" -p camera_info_file:="calibration/cameras/$camera.yaml" > "$out/camera_node.log" 2>&1 &
children+=($!)

random=()
grep -q '^origin = "random weights' "$bundle/model.toml" && random=(--random)
python scripts/demo.py --seconds "$seconds" --out "$out" --node "${children[0]}" "${random[@]}" && code=0 || code=$?
if [ "$code" != 0 ]; then
  echo "demo: failed; what the nodes said:" >&2
  tail -n 20 "$out"/*.log >&2
fi
exit "$code"
