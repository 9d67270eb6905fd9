#!/usr/bin/env bash
# Makes .pixio/bench, the virtual environment of what Pixio is measured against, beside the sourced ROS. Idempotent. `make bench` calls it;
# nothing that gates does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.pixio/bench
wanted=$(cat tests/bench/requirements.txt tests/bench/setup.sh | sha256sum | cut -d' ' -f1)
[ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$wanted" ] && exit

echo "setup: making the environment of the benchmarks' peers in $venv (PyTorch, OpenVINO, OpenCV: about 6 GB)"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir -r tests/bench/requirements.txt
# The underlay's rclpy; a sourced ROS is found by PYTHONPATH.
if [ -d .pixio/underlay ]; then
  realpath .pixio/underlay/lib/python3*/site-packages > "$(echo "$venv"/lib/python3*/site-packages)/ros.pth"
fi
echo "$wanted" > "$venv/stamp"
