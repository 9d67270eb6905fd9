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
export FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml FASTDDS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml

children=()
stop() {
  trap - EXIT INT TERM
  [ ${#children[@]} = 0 ] || kill -TERM "${children[@]}" 2>/dev/null || true
  wait || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

.pixio/sim/bin/python tests/sim/chunks.py --task "$task" --demos "$demos" --encoder "$encoder" --ros-args \
  -r image:=/camera/image > "$out/chunks.log" 2>&1 &
children+=($!)
until grep -q ready "$out/chunks.log"; do
  kill -0 "${children[0]}" 2>/dev/null || { cat "$out/chunks.log" >&2; exit 1; }
  sleep 1
done
.pixio/sim/bin/python tests/sim/robot.py --scene "$task" > "$out/robot.log" 2>&1 &
children+=($!)
"$bin/policy_node" --ros-args --params-file tests/sim/policy.yaml -r '~/twist':=/command/twist -r '~/gripper':=/command/gripper \
  > "$out/policy_node.log" 2>&1 &
children+=($!)

python tests/sim/closed_loop.py --episodes "$episodes" --out "$out/result.json" &
asking=$!
# Whoever ends first: a node that ends before the work is done ended too early.
code=0
wait -n -p ended "${children[@]}" "$asking" || code=$?
if [ "$ended" != "$asking" ]; then
  kill "$asking" 2>/dev/null || true
  code=1
fi
[ "$code" = 0 ] || tail -n 15 "$out"/*.log >&2
exit "$code"
