#!/usr/bin/env bash
# For a machine with a GPU that cannot build and has no TensorRT: packs the checks that need only the driver into a folder, built
# here, to be carried there. NEVER RUN ON A GPU SO FAR.
#
#   scripts/gpu-pack.sh [FOLDER]      here, after `make setup`; out/gpu-pack if none is named (20 MB)
#   FOLDER/run.sh                     there: x86-64, glibc 2.36 or later, libstdc++, NVIDIA's driver 555 or later
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .pixio/setup.bash
folder=${1:-out/gpu-pack}
mkdir -p "$folder"
cargo build --release -q --workspace --examples
test=$(cargo test --release -q --workspace --test gpu --no-run --message-format json |
  python3 -c 'import json, sys
for line in map(json.loads, sys.stdin):
    if line.get("executable") and line["target"]["name"] == "gpu":
        print(line["executable"])')
strip -o "$folder/gpu" "$test"
"${CARGO_TARGET_DIR:-target}/release/examples/stand_in" tensorrt "$folder/standin" --without-driver
rm "$folder/standin/generated.h"
cat > "$folder/run.sh" <<'TXT'
#!/usr/bin/env bash
# Made by scripts/gpu-pack.sh. A line a check; exit code 1 if one failed. All that was said: log/ beside this file, or the folder
# that OUT names.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log=${OUT:-$here/log}
mkdir -p "$log"
export PIXIO_STANDIN=$here/standin/libpixio_copies.so
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
failed=0
listed=$("$here/gpu" --ignored --list 2>&1)
checks=$(sed -n 's/^\(without_tensorrt_[a-z_]*\): test$/\1/p' <<<"$listed")
[ -n "$checks" ] || { echo "FAILED to start: $listed"; exit 1; }
for check in $checks; do
  if timeout 120 "$here/gpu" --ignored --nocapture --exact "$check" >"$log/$check.log" 2>&1; then
    echo "passed $check: $(grep -ho 'RESULT .*' "$log/$check.log" | sed 's/RESULT //' | paste -sd ';')"
  else
    failed=1
    echo "FAILED $check: $(grep -v '^$' "$log/$check.log" | grep -v '^test result' | tail -3 | cut -c1-300)"
  fi
done
exit $failed
TXT
chmod +x "$folder/run.sh"
du -sh "$folder"
