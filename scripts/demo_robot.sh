#!/usr/bin/env bash
# The simulated robot at work, perception_node beside it, and a film. `make demo-robot` calls this in its environment. With the driver
# `policy`, perception_node predicts the actions in the same pass as the depth, and policy_node commands them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scene=${1:-hammer-v3} episodes=${2:-2} driver=${3:-expert}
bin=${CARGO_TARGET_DIR:-target}/release
out=${OUT:-out/demo-robot}
mkdir -p "$out"
tests/sim/setup.sh
case $driver in expert | policy) ;; *) echo "demo-robot: expected DRIVER expert or policy, got $driver" >&2; exit 2 ;; esac

bundle=${PIXIO_BUNDLE:-engines/bundles/tabletop-tiny}
if [ ! -f "$bundle/model.toml" ]; then
  [ -z "${PIXIO_BUNDLE:-}" ] || { echo "demo-robot: $bundle/model.toml is not there" >&2; exit 1; }
  bundle=out/demo_robot_bundle
  [ -f "$bundle/model.toml" ] || "$bin/pixio" import --random-weights 1 --architecture pixio-tiny16 --head depth=linear \
    --size 128x128 --out "$bundle" > "$out/import.log"
fi
grep -q 'linear-depth\|dpt-depth\|-points' "$bundle/model.toml" || {
  echo "demo-robot: expected a bundle with a head for depth, $bundle has none" >&2; exit 1; }

# A bundle without a policy gets one: cloned from the expert's demonstrations of this task on the bundle's own encoder.
if [ "$driver" = policy ] && ! grep -q '^\[heads\.[^.]*\.policy\]' "$bundle/model.toml"; then
  echo "demo-robot: $bundle has no policy; training one for $scene"
  [ -d "out/demos/$scene/meta" ] || .pixio/sim/bin/python tests/sim/demos.py --tasks "$scene" --out out/demos
  trained=$out/policies/$scene-$(sha256sum "$bundle/model.toml" | cut -c1-8)
  [ -f "$trained/model.toml" ] || "$bin/pixio" train policy --bundle "$bundle" --data "out/demos/$scene" --chunk 8 --epochs 400 \
    --frame world --half --run "$trained.run" --out "$trained"
  bundle=$trained
fi

. scripts/isolated.bash
. scripts/children.bash

drive=()
robot=(--scene "$scene")
if [ "$driver" = policy ]; then
  start "$out/policy_node.log" "$bin/policy_node" --ros-args --params-file tests/sim/policy.yaml \
    -r action_chunk:=/demo/perception_node/action_chunk -r '~/twist':=/command/twist -r '~/gripper':=/command/gripper
  drive=(--policy --least 1)
else
  robot+=(--teleoperate --ros-args -r teleoperation/twist:=command/twist -r teleoperation/gripper:=command/gripper)
fi
start "$out/robot.log" .pixio/sim/bin/python tests/sim/robot.py "${robot[@]}"
start "$out/perception_node.log" "$bin/perception_node" --ros-args -p bundle:="$bundle" -p use_sim_time:=true -p threads:=1 \
  -r __ns:=/demo -r image:=/camera/image -r camera_info:=/camera/camera_info -r joint_states:=/proprioception

random=()
grep -q '^origin = "random weights' "$bundle/model.toml" && random=(--random)
finish python scripts/demo_robot.py --episodes "$episodes" --out "$out" "${random[@]}" "${drive[@]}"
