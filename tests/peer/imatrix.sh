#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Importance matrices of quip beside llama.cpp's: the same chunks of the same text, names, counts and sums; and whether
# llama-quantize takes quip's files, of both formats, and llama-imatrix adds to them.
#
#   sh tests/peer/imatrix.sh [-n CHUNKS] [-c TOKENS] [--cpu TIER] LLAMA_BIN_FOLDER TEXT MODEL...
#
# Without -n and -c: 5 chunks of 512 tokens. MODEL is a file, or a name of assets/models.txt.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

chunks=5 tokens=512 tier=
while [ $# -gt 0 ]; do
    case $1 in
    -n) chunks=$2 ;;
    -c) tokens=$2 ;;
    --cpu) tier=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 3 ] || die "usage: imatrix.sh [options] LLAMA_BIN_FOLDER TEXT MODEL..."
llama=$1 text=$2
shift 2
for program in llama-imatrix llama-quantize; do
    need_program "$llama/$program" "build llama.cpp first"
done
need_program "$quip" "sh app/start.sh builds it"
[ -r "$text" ] || die "$text: cannot be read"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quantise NAME: llama-quantize with $work/NAME as importance matrix; its result goes to $work/NAME.out.
quantise() {
    "$llama/llama-quantize" --allow-requantize --imatrix "$work/$1" "$file" "$work/$1.out" Q4_0 2 >"$work/log" 2>&1 &&
        grep -q 'importance matrix entries' "$work/log" || { tail -n 5 "$work/log"; die "llama-quantize refuses $1"; }
}

machine
for model; do
    file=$(file_of "$model")
    echo "${file##*/}: $chunks chunks of $tokens"
    "$quip" imatrix -m "$file" -f "$text" -c "$tokens" --chunks "$chunks" ${tier:+--cpu "$tier"} -o "$work/ours.gguf" \
        >"$work/log" 2>&1 || { cat "$work/log"; die "quip imatrix failed"; }
    # One chunk at a time: it reads several together otherwise, and leaves out what remains of them below 16 rows.
    "$llama/llama-imatrix" -m "$file" -f "$text" -c "$tokens" -b "$tokens" -ub "$tokens" --chunks "$chunks" --no-ppl \
        -t 2 -o "$work/theirs.gguf" >"$work/log" 2>&1 || { cat "$work/log"; die "llama-imatrix failed"; }
    python3 "$top/tests/peer/imatrix_compare.py" "$work/ours.gguf" "$work/theirs.gguf"

    "$quip" imatrix --in-file "$work/ours.gguf" --output-format dat -o "$work/ours.dat" >/dev/null
    quantise ours.gguf
    quantise ours.dat
    echo "llama-quantize takes both files"
    rm "$work"/*.out

    # Twice the same, added up by each of the two.
    "$quip" imatrix --in-file "$work/ours.gguf" --in-file "$work/ours.gguf" -o "$work/twice.gguf" >/dev/null
    "$llama/llama-imatrix" -m "$file" --in-file "$work/ours.gguf,$work/ours.gguf" -o "$work/twice_theirs.gguf" \
        >"$work/log" 2>&1 || { cat "$work/log"; die "llama-imatrix refuses quip's file"; }
    python3 "$top/tests/peer/imatrix_compare.py" "$work/twice.gguf" "$work/twice_theirs.gguf" >"$work/log" ||
        { cat "$work/log"; die "added up, the two differ"; }
    grep '^all' "$work/log" | sed 's/^all /added up by both:/'
done
