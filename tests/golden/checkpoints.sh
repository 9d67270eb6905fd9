#!/usr/bin/env bash
# checkpoints.tar.zst, where the tests read it, from the folder checkpoints/, where the makers write, and back. After make_networks.py and
# make_heads.py, which fills it further:
#
#   tests/golden/checkpoints.sh pack         # before make_heads.py or make_head_gradients.py alone: unpack
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case ${1:-} in
  # Nothing of when and by whom: the same files make the same archive.
  pack) tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C checkpoints -cf - . \
      | zstd -q -19 --long -f -o checkpoints.tar.zst ;;
  unpack) mkdir -p checkpoints && zstd -qdc checkpoints.tar.zst | tar -C checkpoints -xf - ;;
  *) echo "checkpoints.sh: expected pack or unpack, got '${1:-}'" >&2; exit 2 ;;
esac
