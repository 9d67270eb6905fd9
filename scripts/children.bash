# Source this: `start LOG COMMAND…` runs a node whose output goes to LOG, `finish COMMAND…` runs what asks the nodes and ends with its
# exit code; a node that ends before it ended too early, and what the nodes said is shown. Whatever still runs is stopped at the exit.
export FASTRTPS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml FASTDDS_DEFAULT_PROFILES_FILE=$PWD/launch/fastdds.xml

children=() logs=()
stop() {
  trap - EXIT INT TERM
  [ ${#children[@]} = 0 ] || kill -TERM "${children[@]}" 2>/dev/null || true
  wait || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() {
  "${@:2}" > "$1" 2>&1 &
  children+=($!) logs+=("$1")
}

finish() {
  local asking ended code=0
  "$@" &
  asking=$!
  wait -n -p ended "${children[@]}" "$asking" || code=$?
  if [ "$ended" != "$asking" ]; then
    kill "$asking" 2>/dev/null || true
    code=1
  fi
  stop
  if [ "$code" != 0 ]; then
    echo "failed; what the nodes said:" >&2
    tail -n 20 "${logs[@]}" >&2
  fi
  return "$code"
}
