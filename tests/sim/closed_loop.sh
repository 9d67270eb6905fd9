#!/usr/bin/env bash
# The whole loop over ROS 2: simulated robot, cloned policy, policy_node. In the environment of .pixio/setup.bash, after tests/sim/setup.sh:
#
#   tests/sim/closed_loop.sh hammer-v3 out/demos out/random-onnx 25        # task, demonstrations, exported encoder, episodes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
task=$1 demos=$2 encoder=$3 episodes=${4:-25}
bin=${CARGO_TARGET_DIR:-target}/release
out=out/closed-loop/$task
mkdir -p "$out"
. scripts/isolated.bash
. scripts/children.bash

start "$out/chunks.log" .pixio/sim/bin/python tests/sim/chunks.py --task "$task" --demos "$demos" --encoder "$encoder" --ros-args \
  -r image:=/camera/image
until grep -q ready "$out/chunks.log"; do
  kill -0 "${children[0]}" 2>/dev/null || { cat "$out/chunks.log" >&2; exit 1; }
  sleep 1
done
start "$out/robot.log" .pixio/sim/bin/python tests/sim/robot.py --scene "$task"
start "$out/policy_node.log" "$bin/policy_node" --ros-args --params-file tests/sim/policy.yaml -r '~/twist':=/command/twist \
  -r '~/gripper':=/command/gripper

PYTHONPATH=scripts${PYTHONPATH:+:$PYTHONPATH} finish python tests/sim/closed_loop.py --episodes "$episodes" --out "$out/result.json"
