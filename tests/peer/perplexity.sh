#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Perplexity of quip beside llama.cpp's: the same chunks of the same text.
#
#   sh tests/peer/perplexity.sh [-n CHUNKS] [-c TOKENS] [--cpu TIER] LLAMA_BIN_FOLDER TEXT MODEL...
#
# Without -n and -c: 20 chunks of 512 tokens. MODEL is a file, or a name of assets/models.txt.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

chunks=20 tokens=512 tier=
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
[ $# -ge 3 ] || die "usage: perplexity.sh [options] LLAMA_BIN_FOLDER TEXT MODEL..."
llama=$1/llama-perplexity text=$2
shift 2
need_program "$llama" "build llama.cpp first"
need_program "$quip" "sh app/start.sh builds it"
[ -r "$text" ] || die "$text: cannot be read"

# Both end with "Final estimate: PPL = 12.3456 +/- 0.12".
estimate() { sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' | tail -n 1; }

machine
printf '%-28s %10s %10s %10s\n' "$chunks chunks of $tokens" quip llama.cpp difference
for model; do
    file=$(file_of "$model")
    ours=$("$quip" perplexity -m "$file" -f "$text" -c "$tokens" --chunks "$chunks" ${tier:+--cpu "$tier"} 2>&1 | estimate)
    theirs=$("$llama" -m "$file" -f "$text" -c "$tokens" --chunks "$chunks" -t 2 2>&1 | estimate)
    [ -n "$ours" ] && [ -n "$theirs" ] || die "no estimate: quip '$ours', llama.cpp '$theirs'"
    name=${file##*/}
    awk -v n="${name%.gguf}" -v a="$ours" -v b="$theirs" \
        'BEGIN { printf "%-28s %10.4f %10.4f %+9.2f %%\n", n, a, b, 100 * (a / b - 1) }'
done
