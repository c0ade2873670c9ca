#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes a model of random weights in the shape of a real one, for timings at sizes of which no weights are at
# hand. A greedy answer is noise that comes back to the same few words, without an exact circle in the first
# hundred tokens: short matches that promise nothing, which is the hard case for drafts from the text.
#
#   sh tests/peer/random_model.sh [-p PRESET] [-q TYPE] LLAMA_BIN_FOLDER OUT.gguf
#
# Without options: preset llama-1b at Q4_K_M (2.2 GB in passing, 0.7 GB in the end). The script that makes the
# weights, with its presets, and the vocabulary lie beside the project (../shared); it needs the Python package
# gguf, which goes into a folder of its own for the time of the run.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

preset=llama-1b type=Q4_K_M shared=$top/../shared
while [ $# -gt 0 ]; do
    case $1 in
    -p) preset=$2 ;;
    -q) type=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -eq 2 ] || die "usage: random_model.sh [options] LLAMA_BIN_FOLDER OUT.gguf"
quantize=$1/llama-quantize out=$2
need_program "$quantize" "build llama.cpp first"
[ -r "$shared/peer/random-model.py" ] || die "$shared/peer/random-model.py is not there"

folder=$(mktemp -d -p "$(dirname "$out")")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install -q gguf
"$folder/python/bin/python" "$shared/peer/random-model.py" --vocab "$shared/vectors/tokenizer/llama-spm.gguf" \
    --preset "$preset" "$folder/f16.gguf"
"$quantize" "$folder/f16.gguf" "$folder/out.gguf" "$type" >"$folder/log" 2>&1 || die "$(tail -n 3 "$folder/log")"
mv "$folder/out.gguf" "$out"
