#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What each type of cached keys and values costs in quality, as KL divergence from the same model with an
# f16 cache, and in bytes.
#
#   sh tests/peer/kv_quality.sh [-n CHUNKS] [-c TOKENS] [--cpu TIER] [--types "T ..."] [--both]
#                               [--llama LLAMA_BIN_FOLDER] TEXT MODEL...
#
# Without options: 2 chunks of 2048 tokens, of which the second halves are scored; q8_0 q4_0 kv4 kv3 for keys
# alone, values alone and both (--both: only these); the best tier. With --llama also llama.cpp's q8_0 and
# q4_0 (-fa on), against its own f16. MODEL is a file, or a name of assets/models.txt.
#
# The first row of each program is f16 against its own file: what the 16-bit codes of that file, and nothing
# else, make of it. Fast tiers round activations to 8 bits; any small change then moves some of them to the
# next code, which alone is worth about 0.002 (SmolLM2, f32 cache against f16): --cpu exact has none of that.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

chunks=2 tokens=2048 tier= types="q8_0 q4_0 kv4 kv3" sides="k v both" llama=
while [ $# -gt 0 ]; do
    case $1 in
    -n) chunks=$2 ;;
    -c) tokens=$2 ;;
    --cpu) tier=$2 ;;
    --types) types=$2 ;;
    --llama) llama=$2/llama-perplexity ;;
    --both)
        sides=both
        shift
        continue
        ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die "usage: kv_quality.sh [options] TEXT MODEL..."
text=$1
shift
need_program "$quip" "sh app/start.sh builds it"
[ -z "$llama" ] || need_program "$llama" "build llama.cpp first"
[ -r "$text" ] || die "$text: cannot be read"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# cache_bytes TOKENS K V: of the model in $file.
cache_bytes() {
    "$quip" inspect "$file" -c "$1" -ctk "$2" -ctv "$3" --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["memory"]["cache"])'
}

# row WHO K V OUTPUT [BYTES_4K BYTES_32K F16_BYTES_32K]: both programs name their figures nearly alike.
row() {
    python3 - "$@" <<'PYTHON'
import re, sys
who, k, v, path, *sizes = sys.argv[1:]
text = open(path, errors="replace").read()
def find(pattern):
    m = re.search(pattern, text, re.M)
    return [float(x) for x in m.groups()] if m else None
kl = find(r"^Mean +KLD: +(\S+) *(?:\+/-|±) +(\S+)")
same = find(r"^Same top p: +(\S+)")
ppl = find(r"^Mean PPL\(Q\) +: +(\S+)") or find(r"PPL = (\S+)")
if not (kl and same and ppl):
    sys.exit(f"{who} {k} {v}: no figures in its output:\n{text[-600:]}")
line = f"{who:10} {k:5} {v:5} {kl[0]:11.6f} {kl[1]:10.6f} {same[0]:9.2f} {ppl[0]:11.4f}"
if sizes:
    b4, b32, f16 = (int(s) for s in sizes)
    line += f" {b4 / 4096:9.0f} {b32 / 32768:9.0f} {16 * b32 / f16:7.2f}"
print(line, flush=True)
PYTHON
}

ours() {
    "$quip" perplexity -m "$file" --kl-base "$folder/base" -ctk "$1" -ctv "$2" ${tier:+--cpu "$tier"} \
        >"$folder/out" 2>"$folder/log" || die "quip: $(tail -n 1 "$folder/log")"
    row quip "$1" "$2" "$folder/out" "$(cache_bytes 4096 "$1" "$2")" "$(cache_bytes 32768 "$1" "$2")" "$f16_bytes"
}

theirs() {
    "$llama" -m "$file" --kl-divergence --kl-divergence-base "$folder/base" -c "$tokens" --chunks "$chunks" \
        -t 2 -fa on -ctk "$1" -ctv "$2" >"$folder/out" 2>&1 || die "llama.cpp: $(tail -n 1 "$folder/out")"
    row llama.cpp "$1" "$2" "$folder/out"
}

# each WHO TYPE...: every type on the sides asked for.
each() {
    who=$1
    shift
    "$who" f16 f16
    for type; do
        for side in $sides; do
            case $side in
            k) "$who" "$type" f16 ;;
            v) "$who" f16 "$type" ;;
            both) "$who" "$type" "$type" ;;
            esac
        done
    done
}

machine
for model; do
    file=$(file_of "$model")
    f16_bytes=$(cache_bytes 32768 f16 f16)
    "$quip" perplexity -m "$file" -f "$text" -c "$tokens" --chunks "$chunks" --save-logits "$folder/base" \
        ${tier:+--cpu "$tier"} >"$folder/out" 2>"$folder/log" || die "quip: $(tail -n 1 "$folder/log")"
    echo
    echo "${file##*/}: $chunks chunks of $tokens tokens of ${text##*/}, tier $(tier_of "$file" "$tier")"
    printf '%-10s %-5s %-5s %11s %10s %9s %11s %9s %9s %7s\n' '' K V 'mean KL' '+/-' 'same top' perplexity \
        'B/tok 4k' 32k 'bits 32k'
    each ours $types
    if [ -n "$llama" ]; then
        "$llama" -m "$file" -f "$text" -c "$tokens" --chunks "$chunks" -t 2 -fa on --kl-divergence-base \
            "$folder/base" >"$folder/out" 2>&1 || die "llama.cpp: $(tail -n 1 "$folder/out")"
        each theirs q8_0 q4_0
    fi
done
