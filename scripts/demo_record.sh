#!/usr/bin/env bash
# Expert teleoperation of the simulated robot, recorded by recorder_node. `make demo-record` calls this in its environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scene=${1:-hammer-v3} episodes=${2:-5}
bin=${CARGO_TARGET_DIR:-target}/release
out=out/demo-record
mkdir -p "$out"

if [ -e "$out/recordings/dataset" ]; then
  echo "demo-record: $out/recordings holds recordings; they are added to" >&2
fi
tests/sim/setup.sh
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

# The expert commands the robot as a human's device would: what it publishes is what the robot hears and the recorder keeps.
.pixio/sim/bin/python tests/sim/robot.py --scene "$scene" --seed 7000 --teleoperate --ros-args \
  -r teleoperation/twist:=command/twist -r teleoperation/gripper:=command/gripper > "$out/robot.log" 2>&1 &
children+=($!)
"$bin/recorder_node" --ros-args -p use_sim_time:=true -p contract:=launch/contracts/metaworld_sawyer.yaml \
  -p root:="$out/recordings" -p keyboard:=false > "$out/recorder_node.log" 2>&1 &
children+=($!)

sentence=$(cd tests/sim && "$OLDPWD/.pixio/sim/bin/python" -c 'import scene, sys; print(scene.SENTENCES[sys.argv[1]])' "$scene")
python scripts/demo_record.py --episodes "$episodes" --task "$sentence" &
asking=$!
# Whoever ends first: a node that ends before the work is done ended too early.
code=0
wait -n -p ended "${children[@]}" "$asking" || code=$?
if [ "$ended" != "$asking" ]; then
  kill "$asking" 2>/dev/null || true
  code=1
fi
stop
if [ "$code" != 0 ]; then
  echo "demo-record: failed; what the nodes said:" >&2
  tail -n 20 "$out"/*.log >&2
  exit "$code"
fi
"$bin/pixio" dataset check "$out/recordings/dataset"
"$bin/pixio" dataset info "$out/recordings/dataset"
