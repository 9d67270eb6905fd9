#!/usr/bin/env bash
# The whole loop over ROS 2 on unseen goals: simulated robot -> perception_node with a bundle's policy -> policy_node -> simulated robot.
# In the environment of .pixio/setup.bash, after tests/sim/setup.sh; what was found is kept, and gone on from:
#
#   tests/sim/closed_loop.sh hammer-v3 out/policies/pixio-hammer-v3 25        # task, bundle, episodes; a fourth: minutes it may take
#   python tests/sim/closed_loop.py --table out/closed-loop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
task=$1 bundle=$2 episodes=${3:-25} minutes=${4:-inf}
bin=${PIXIO_BIN:-${CARGO_TARGET_DIR:-target}/release}
out=${OUT:-out/closed-loop}
mkdir -p "$out/logs"
. scripts/isolated.bash
. scripts/children.bash

start "$out/logs/robot.log" .pixio/sim/bin/python tests/sim/robot.py --scene "$task"
start "$out/logs/perception_node.log" "$bin/perception_node" --ros-args -p bundle:="$bundle" -p use_sim_time:=true -p threads:=1 \
  -r image:=/camera/image -r camera_info:=/camera/camera_info -r joint_states:=/proprioception
start "$out/logs/policy_node.log" "$bin/policy_node" --ros-args --params-file tests/sim/policy.yaml \
  -r action_chunk:=/perception_node/action_chunk -r '~/twist':=/command/twist -r '~/gripper':=/command/gripper

finish python tests/sim/closed_loop.py --task "$task" --bundle "$bundle" \
  --episodes "$episodes" --minutes "$minutes" --out "$out"
