#!/usr/bin/env bash
# Makes the bundle tabletop-tiny and the tables of docs/training.md from nothing: pictures, demonstrations, pre-training, heads, and
# the same heads on a random encoder. Hours of processor; stopped at any moment, it goes on where it was. In the environment of
# .pixio/setup.bash, after tests/sim/setup.sh:
#
#   tests/sim/tabletop.sh out/tabletop                  # everything
#   tests/sim/tabletop.sh out/tabletop depth            # up to and with the depth heads; also: data pretrain points labels policies success
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$1 last=${2:-success}
pixio=${PIXIO:-${CARGO_TARGET_DIR:-target}/release/pixio} python=.pixio/sim/bin/python
scenes=${SCENES:-400} pretrain_steps=${PRETRAIN_STEPS:-5000} depth_steps=${DEPTH_STEPS:-4000} points_steps=${POINTS_STEPS:-2000} label_steps=${LABEL_STEPS:-600}
epochs=${EPOCHS:-200} episodes=${EPISODES:-25}
tasks=(assembly-v3 bin-picking-v3 button-press-topdown-v3 drawer-open-v3 hammer-v3)
mkdir -p "$out/run"

done_with() { [ "$last" != "$1" ] || exit 0; }
missing() { [ ! -f "$1/model.toml" ]; }

"$python" tests/sim/render.py --scenes "$scenes" --out "$out/pictures"
[ -d "$out/demos/hammer-v3/meta" ] || "$python" tests/sim/demos.py --out "$out/demos"
done_with data

# The backbone, from pixels alone, and the control: the same weights as they were drawn.
pretrain() {
  "$pixio" pretrain --data "$out/pictures/train" --data "$out"/demos/* --held-out "$out/pictures/held-out" --side 128 \
    --encoder 192x8x3 --decoder 128x4x4 --batch 32 --rate 1e-3 --smallest-crop 0.6 --no-mirror --half --licence Apache-2.0 "$@"
}
missing "$out/random" && pretrain --steps 0 --name "tabletop-tiny, random encoder" --run "$out/run/random" --out "$out/random"
missing "$out/pixio" && pretrain --steps "$pretrain_steps" --name tabletop-tiny --run "$out/run/pixio" --out "$out/pixio"
done_with pretrain

dpt=(--features 16 --out-channels "16,32,48,48" --half)
for encoder in random pixio; do
  held_out=(--held-out "$out/pictures/held-out" --held-out "$out/pictures/held-out-broad")
  missing "$out/$encoder-depth" && "$pixio" train depth --data "$out/pictures/train" "${held_out[@]}" --bundle "$out/$encoder" \
    --steps "$depth_steps" --rate 2e-3 --max-depth 3 "${dpt[@]}" --run "$out/run/$encoder-depth" --out "$out/$encoder-depth"
done
done_with depth

for encoder in pixio random; do
  held_out=(--held-out "$out/pictures/held-out" --held-out "$out/pictures/held-out-broad")
  missing "$out/$encoder-points" && "$pixio" train points --data "$out/pictures/train" "${held_out[@]}" --bundle "$out/$encoder-depth" \
    --steps "$points_steps" --rate 2e-3 --max-distance 3 --doubt-unknown "${dpt[@]}" --run "$out/run/$encoder-points" --out "$out/$encoder-points"
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
missing "$out/tabletop-tiny" && policy "$out/pixio-labels" "$out/run/policy" "$out/tabletop-tiny" "$out"/demos/*
for task in "${tasks[@]}"; do
  for encoder in pixio random; do
    here=$out/policies/$encoder-$task
    missing "$here" && policy "$out/$encoder" "$out/run/policies/$encoder-$task" "$here" "$out/demos/$task"
  done
done
done_with policies

"$python" tests/sim/evaluate.py --demos "$out/demos" --pixio "$pixio" --episodes "$episodes" --out "$out/success.json" \
  --policy "pixio=$out/policies/pixio-{task}" --policy "random=$out/policies/random-{task}" --policy "one-for-all=$out/tabletop-tiny"
