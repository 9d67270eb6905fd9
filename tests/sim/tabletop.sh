#!/usr/bin/env bash
# Makes the bundle tabletop-tiny and the tables of docs/training.md from nothing: pictures, demonstrations, pre-training, heads, and
# the same heads on a random encoder. Hours of processor; stopped at any moment, it goes on where it was. In the environment of
# .pixio/setup.bash, after tests/sim/setup.sh:
#
#   tests/sim/tabletop.sh out/tabletop                  # everything
#   tests/sim/tabletop.sh out/tabletop depth            # up to and with the depth heads; also: data pretrain points labels policies success
#
# The whole way in minutes, for nothing but to see that it works (the variables are those below):
#
#   TASKS=hammer-v3 SCENES=2 HELD_OUT=1 DEMONSTRATIONS=2 PRETRAIN_STEPS=5 PRETRAIN_MORE_STEPS=5 DEPTH_STEPS=5 POINTS_STEPS=5 \
#     LABEL_STEPS=5 EPOCHS=1 EPISODES=1 SEEDS=1 CONTROL_EPOCHS=5 tests/sim/tabletop.sh out/tabletop-try
set -euo pipefail
stages=" data pretrain depth points labels policies success "
if [ $# -lt 1 ] || [ $# -gt 2 ] || [[ "$stages" != *" ${2:-success} "* ]]; then
  echo "usage: $0 FOLDER [one of:${stages% }]" >&2
  exit 2
fi
out=$(realpath -m "$1") last=${2:-success}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
pixio=${PIXIO:-${CARGO_TARGET_DIR:-target}/release/pixio} python=${PYTHON:-.pixio/sim/bin/python}
read -ra tasks <<< "${TASKS:-assembly-v3 bin-picking-v3 button-press-topdown-v3 drawer-open-v3 hammer-v3}"
scenes=${SCENES:-400} held_out_scenes=${HELD_OUT:-25} demonstrations=${DEMONSTRATIONS:-25}
pretrain_steps=${PRETRAIN_STEPS:-5000} pretrain_more_steps=${PRETRAIN_MORE_STEPS:-13000}
depth_steps=${DEPTH_STEPS:-8000} points_steps=${POINTS_STEPS:-2000} label_steps=${LABEL_STEPS:-600} epochs=${EPOCHS:-200}
episodes=${EPISODES:-25} seeds=${SEEDS:-3} control_epochs=${CONTROL_EPOCHS:-400}
mkdir -p "$out/run" "$out/demos"

done_with() { [ "$last" != "$1" ] || exit 0; }
missing() { [ ! -f "$1/model.toml" ]; }

"$python" tests/sim/render.py --scenes "$scenes" --held-out "$held_out_scenes" --out "$out/pictures"
for task in "${tasks[@]}"; do
  # meta/info.json is written last: without it the task was not finished, and demos.py goes on from nothing.
  [ -f "$out/demos/$task/meta/info.json" ] && continue
  rm -rf "$out/demos/$task"
  "$python" tests/sim/demos.py --tasks "$task" --episodes "$demonstrations" --out "$out/demos"
done
done_with data

# The backbone, from pixels alone, in two stages: the schedule of a run that was begun cannot be made longer, and going on from its
# bundle begins a decoder and a schedule of its own. The control is the same weights as they were drawn.
demos=("${tasks[@]/#/$out/demos/}")
pretrain() {
  "$pixio" pretrain --data "$out/pictures/train" "${demos[@]}" --held-out "$out/pictures/held-out" --decoder 128x4x4 --batch 32 \
    --rate 1e-3 --smallest-crop 0.6 --no-mirror --half --licence Apache-2.0 "$@"
}
drawn=(--side 128 --encoder 192x8x3)
missing "$out/random" &&
  pretrain "${drawn[@]}" --steps 0 --name "tabletop-tiny, random encoder" --run "$out/run/random" --out "$out/random"
missing "$out/pixio-first" &&
  pretrain "${drawn[@]}" --steps "$pretrain_steps" --name tabletop-tiny --run "$out/run/pixio-first" --out "$out/pixio-first"
missing "$out/pixio" && pretrain --from "$out/pixio-first" --seed 2 --steps "$pretrain_more_steps" --name tabletop-tiny \
  --run "$out/run/pixio" --out "$out/pixio"
done_with pretrain

dpt=(--features 16 --out-channels "16,32,48,48" --half)
held_out=(--held-out "$out/pictures/held-out" --held-out "$out/pictures/held-out-broad")
for encoder in random pixio; do
  missing "$out/$encoder-depth" && "$pixio" train depth --data "$out/pictures/train" "${held_out[@]}" --bundle "$out/$encoder" \
    --steps "$depth_steps" --rate 2e-3 --max-depth 8 "${dpt[@]}" --run "$out/run/$encoder-depth" --out "$out/$encoder-depth"
done
done_with depth

for encoder in pixio random; do
  missing "$out/$encoder-points" && "$pixio" train points --data "$out/pictures/train" "${held_out[@]}" --bundle "$out/$encoder-depth" \
    --steps "$points_steps" --rate 2e-3 --max-distance 8 --doubt-unknown "${dpt[@]}" --run "$out/run/$encoder-points" --out "$out/$encoder-points"
done
done_with points

for encoder in pixio random; do
  missing "$out/$encoder-labels" && "$pixio" train segmentation --data "$out/pictures/train" --held-out "$out/pictures/held-out" \
    --bundle "$out/$encoder-points" --steps "$label_steps" --rate 2e-3 "${dpt[@]}" --run "$out/run/$encoder-labels" --out "$out/$encoder-labels"
done
done_with labels

# Eight actions at once: a chunk of one ends when the next picture is taken, before its own chunk can be there, and policy_node would hold.
policy() {
  "$pixio" train policy --bundle "$1" --epochs "$epochs" --chunk 8 --frame world --half --run "$2" --out "$3" --data "${@:4}"
}
missing "$out/tabletop-tiny" && policy "$out/pixio-labels" "$out/run/policy" "$out/tabletop-tiny" "${demos[@]}"
for task in "${tasks[@]}"; do
  for encoder in pixio random; do
    here=$out/policies/$encoder-$task
    missing "$here" && policy "$out/$encoder" "$out/run/policies/$encoder-$task" "$here" "$out/demos/$task"
  done
done
done_with policies

# The table: on features of either encoder, blind, and from the whole state, some seeds each, cloned by what is not this project's; then
# the bundles of above, each as it was trained.
for encoder in random pixio; do
  [ -d "$out/onnx/$encoder" ] && continue
  rm -rf "$out/onnx/.$encoder"
  "$pixio" export "$out/$encoder" --out "$out/onnx/.$encoder"
  mv "$out/onnx/.$encoder" "$out/onnx/$encoder"
done
"$python" tests/sim/evaluate.py --demos "$out/demos" --pixio "$pixio" --tasks "${tasks[@]}" --episodes "$episodes" --seeds "$seeds" \
  --epochs "$control_epochs" --encoder "random=$out/onnx/random" --encoder "pixio=$out/onnx/pixio" \
  --policy "pixio policy=$out/policies/pixio-{task}" --policy "random policy=$out/policies/random-{task}" \
  --policy "one for all=$out/tabletop-tiny" --out "$out/success.json"
