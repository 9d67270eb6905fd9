#!/usr/bin/env bash
# Record, train, build, run: the expert teleoperates the simulated robot, recorder_node records, `pixio train policy` clones it on the
# bundle's own encoder, `pixio verify` (and with a GPU's TensorRT `pixio build`) proves the engine, and perception_node with policy_node
# drives the robot with it on goals that were not recorded. `make demo-record` calls this in its environment. Asks for no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scene=${1:-hammer-v3} episodes=${2:-25} tries=${3:-5}
bin=${CARGO_TARGET_DIR:-target}/release
out=out/demo-record/$scene
mkdir -p "$out"

bundle=${PIXIO_BUNDLE:-engines/bundles/tabletop-tiny}
[ -f "$bundle/model.toml" ] || { echo "demo-record: $bundle/model.toml is not there" >&2; exit 1; }
tests/sim/setup.sh

record() {
  . scripts/isolated.bash
  . scripts/children.bash
  tried=$(find "$out"/recordings/bags "$out"/recordings/rejected -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)
  # The expert commands the robot as a human's device would: what it publishes is what the robot hears and the recorder keeps.
  start "$out/robot.log" .pixio/sim/bin/python tests/sim/robot.py --scene "$scene" --seed "$((7000 + tried))" --teleoperate --ros-args \
    -r teleoperation/twist:=command/twist -r teleoperation/gripper:=command/gripper
  start "$out/recorder_node.log" "$bin/recorder_node" --ros-args -p use_sim_time:=true \
    -p contract:=launch/contracts/metaworld_sawyer.yaml -p root:="$out/recordings" -p keyboard:=false
  sentence=$(cd tests/sim && "$OLDPWD/.pixio/sim/bin/python" -c 'import scene, sys; print(scene.SENTENCES[sys.argv[1]])' "$scene")
  finish python scripts/demo_record.py --episodes "$((episodes - recorded))" --task "$sentence"
}

recorded=0
info=$out/recordings/dataset/meta/info.json
[ ! -f "$info" ] || recorded=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["total_episodes"])' "$info")
if [ "$recorded" -lt "$episodes" ]; then
  echo "demo-record: recording $((episodes - recorded)) episodes of $scene; $recorded are there"
  (record)
fi
"$bin/pixio" dataset check "$out/recordings/dataset"
"$bin/pixio" dataset info "$out/recordings/dataset"

echo "demo-record: training a policy on the recordings and the encoder of $bundle"
# A run that was cut off goes on; other recordings are another run.
run=$out/run-$(cat "$info" "$bundle/model.toml" | sha256sum | cut -c1-8)
"$bin/pixio" train policy --bundle "$bundle" --data "$out/recordings/dataset" --chunk 8 --epochs 400 --frame world --half --force \
  --run "$run" --out "$out/bundle"
"$bin/pixio" verify "$out/bundle"
others=(--skip ros --skip transport --skip memory --skip onnxruntime --skip bundle --skip graph)
if "$bin/pixio" doctor --engine tensorrt --bundle "$out/bundle" "${others[@]}" > "$out/doctor.log" 2>&1; then
  "$bin/pixio" build "$out/bundle" --engine tensorrt
else
  echo "demo-record: no TensorRT here ($out/doctor.log): the bundle runs on the CPU as it is"
fi

echo "demo-record: $tries goals that were not recorded"
PIXIO_BUNDLE=$out/bundle OUT=$out scripts/demo_robot.sh "$scene" "$tries" policy
