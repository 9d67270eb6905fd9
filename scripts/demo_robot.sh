#!/usr/bin/env bash
# The simulated robot at work, perception_node beside it, and a film. `make demo-robot` calls this in its environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scene=${1:-hammer-v3} episodes=${2:-2} driver=${3:-expert}
bin=${CARGO_TARGET_DIR:-target}/release
out=out/demo-robot
mkdir -p "$out"
tests/sim/setup.sh

bundle=${PIXIO_BUNDLE:-engines/bundles/tabletop-tiny}
if [ ! -f "$bundle/model.toml" ]; then
  [ -z "${PIXIO_BUNDLE:-}" ] || { echo "demo-robot: $bundle/model.toml is not there" >&2; exit 1; }
  bundle=out/demo_robot_bundle
  [ -f "$bundle/model.toml" ] || "$bin/pixio" import --random-weights 1 --architecture pixio-tiny16 --head depth=linear \
    --size 128x128 --out "$bundle" > "$out/import.log"
fi

. scripts/isolated.bash
. scripts/children.bash

drive=()
robot=(--scene "$scene" --seed 50000)
if [ "$driver" = policy ]; then
  [ -d "out/demos/$scene" ] || .pixio/sim/bin/python tests/sim/demos.py --tasks "$scene" --out out/demos
  [ -f "$out/onnx/backbone_128x128.onnx" ] || "$bin/pixio" export "$bundle" --size 128x128 --out "$out/onnx" > /dev/null
  start "$out/chunks.log" .pixio/sim/bin/python tests/sim/chunks.py --task "$scene" --demos out/demos --encoder "$out/onnx" --ros-args \
    -r image:=/camera/image
  start "$out/policy_node.log" "$bin/policy_node" --ros-args --params-file tests/sim/policy.yaml -r '~/twist':=/command/twist \
    -r '~/gripper':=/command/gripper
  drive=(--policy)
else
  robot+=(--teleoperate --ros-args -r teleoperation/twist:=command/twist -r teleoperation/gripper:=command/gripper)
fi
start "$out/robot.log" .pixio/sim/bin/python tests/sim/robot.py "${robot[@]}"
start "$out/perception_node.log" "$bin/perception_node" --ros-args -p bundle:="$bundle" -p use_sim_time:=true -p threads:=1 \
  -r __ns:=/demo -r image:=/camera/image -r camera_info:=/camera/camera_info

random=()
grep -q '^origin = "random weights' "$bundle/model.toml" && random=(--random)
finish python scripts/demo_robot.py --episodes "$episodes" --out "$out" "${random[@]}" "${drive[@]}"
