#!/bin/sh
# SPDX-License-Identifier: MIT
#
# KL divergence by quip beside llama.cpp: both read the base that llama.cpp wrote. What differs is how each computes the
# model; the figures of the base are the same to the last digit.
#
#   sh tests/peer/kl.sh [-n CHUNKS] [-c TOKENS] [-t THREADS] LLAMA_BIN_FOLDER TEXT BASE MODEL...
#
# Without options: 12 chunks of 512 tokens, 2 threads. BASE and MODEL are files, or names of assets/models.txt.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

chunks=12 tokens=512 threads=2
while [ $# -gt 0 ]; do
    case $1 in
    -n) chunks=$2 ;;
    -c) tokens=$2 ;;
    -t) threads=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 4 ] || die "usage: kl.sh [options] LLAMA_BIN_FOLDER TEXT BASE MODEL..."
llama=$1/llama-perplexity text=$2 base=$(file_of "$3")
shift 3
need_program "$llama" "build llama.cpp first"
need_program "$quip" "sh app/start.sh builds it"
[ -r "$text" ] || die "$text: cannot be read"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

machine
"$llama" -m "$base" -f "$text" -c "$tokens" --chunks "$chunks" -t "$threads" --save-all-logits "$folder/base" \
    >"$folder/log" 2>&1 || die "llama.cpp: $(tail -n 1 "$folder/log")"
for model; do
    file=$(file_of "$model")
    "$llama" -m "$file" --kl-divergence --kl-divergence-base "$folder/base" -c "$tokens" -t "$threads" \
        >"$folder/theirs" 2>&1 || die "llama.cpp: $(tail -n 1 "$folder/theirs")"
    "$quip" perplexity -m "$file" --kl-base "$folder/base" -t "$threads" \
        >"$folder/ours" 2>"$folder/log" || die "quip: $(tail -n 1 "$folder/log")"
    python3 - "${file##*/}" "$folder" <<'PYTHON'
import re, sys
name, folder = sys.argv[1:]
def figures(path):
    found = {}
    for line in open(path, errors="replace"):
        m = re.match(r"\s*(\S.*?)\s*: +(-?[0-9.]+) ?%?", line)
        if m and re.search(r"PPL|KLD|p$", m[1]):
            found[re.sub(r"\s+", " ", m[1])] = float(m[2])
    return found
ours, theirs = figures(folder + "/ours"), figures(folder + "/theirs")
print(f"{name:32}{'quip':>12}{'llama.cpp':>12}")
for key in theirs:
    if key in ours:
        print(f"{key:32}{ours[key]:12.6f}{theirs[key]:12.6f}")
PYTHON
done
