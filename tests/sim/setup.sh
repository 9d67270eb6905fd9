#!/usr/bin/env bash
# Makes .pixio/sim, the virtual environment of the simulated robot (MetaWorld, MuJoCo), beside the sourced ROS. Idempotent.
#
#   source .pixio/setup.bash && tests/sim/setup.sh && .pixio/sim/bin/python tests/sim/robot.py --scene hammer-v3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.pixio/sim
wanted=$(cat tests/sim/requirements.txt tests/sim/setup.sh | sha256sum | cut -d' ' -f1)
[ -f "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$wanted" ] && exit

# MuJoCo draws through EGL; Mesa's is enough, without a GPU.
if ! python3 -c 'import ctypes; ctypes.CDLL("libEGL.so.1")' 2>/dev/null; then
  root=(); [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  "${root[@]}" apt-get install -y -qq --no-install-recommends libegl1 libegl-mesa0 libgl1-mesa-dri >/dev/null
fi
echo "setup: making the simulation's environment in $venv (about 700 MB)"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -r tests/sim/requirements.txt
# The underlay's rclpy; a sourced ROS is found by PYTHONPATH.
if [ -d .pixio/underlay ]; then
  realpath .pixio/underlay/lib/python3*/site-packages > "$(echo "$venv"/lib/python3*/site-packages)/ros.pth"
fi
echo "$wanted" > "$venv/stamp"
