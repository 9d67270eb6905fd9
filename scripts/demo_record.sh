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
. scripts/children.bash

# The expert commands the robot as a human's device would: what it publishes is what the robot hears and the recorder keeps.
start "$out/robot.log" .pixio/sim/bin/python tests/sim/robot.py --scene "$scene" --seed 7000 --teleoperate --ros-args \
  -r teleoperation/twist:=command/twist -r teleoperation/gripper:=command/gripper
start "$out/recorder_node.log" "$bin/recorder_node" --ros-args -p use_sim_time:=true \
  -p contract:=launch/contracts/metaworld_sawyer.yaml -p root:="$out/recordings" -p keyboard:=false

sentence=$(cd tests/sim && "$OLDPWD/.pixio/sim/bin/python" -c 'import scene, sys; print(scene.SENTENCES[sys.argv[1]])' "$scene")
finish python scripts/demo_record.py --episodes "$episodes" --task "$sentence"
"$bin/pixio" dataset check "$out/recordings/dataset"
"$bin/pixio" dataset info "$out/recordings/dataset"
