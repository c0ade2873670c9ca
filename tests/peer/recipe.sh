#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Asks llama-quantize, without a download, which type each tensor of a dozen shapes gets at every level, and compares with
# quip: with and without an importance matrix, mixed and pure. Fails where one differs. A minute.
#
#   sh tests/peer/recipe.sh [--write] LLAMA_BIN_FOLDER
#
# With --write, what llama-quantize chooses becomes tests/data/level/types.txt, which the unit test holds quip to.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

write=
if [ "${1:-}" = --write ]; then
    write=$top/tests/data/level/types.txt
    shift
fi
[ $# -eq 1 ] || die "usage: recipe.sh [--write] LLAMA_BIN_FOLDER"
need_program "$1/llama-quantize" "build llama.cpp first"
need_program "$quip" "build quip first"
exec python3 "$top/tests/peer/level_types.py" "$1" "$quip" ${write:+--write "$write"}
