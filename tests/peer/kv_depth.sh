#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Speed of answering with a full cache, quip beside llama.cpp: tokens/s at several depths and types of the
# cache, the two programs and the types taking turns, medians over all rounds and repetitions.
#
#   sh tests/peer/kv_depth.sh [-r ROUNDS] [-k REPETITIONS] [-d DEPTHS] [-n ANSWER] [-t THREADS] [--cpu TIER]
#                             [--types "T ..."] [--peer-types "T ..."] LLAMA_BIN_FOLDER MODEL...
#
# Without options: 3 rounds of 3 repetitions, depths 0,4096,16384, answers of 32 tokens, 2 threads, f16 q8_0
# kv4 beside llama.cpp's f16 and q8_0 (-fa 1). --peer-types "" measures quip alone (the folder is then any word).
# llama.cpp has one repetition a round, since it evaluates the whole depth again for each. Every measurement is
# also written to stderr as it comes; stopped early (^C), the table is of what stands.
#
# Beside each speed: bytes read per token (weights, and the cache half way through the answer), the time per
# token over that at depth 0, and what it would be if only bytes counted.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

rounds=3 repeat=3 depths=0,4096,16384 answer=32 threads=2 tier= types="f16 q8_0 kv4" peer_types="f16 q8_0"
while [ $# -gt 0 ]; do
    case $1 in
    -r) rounds=$2 ;;
    -k) repeat=$2 ;;
    -d) depths=$2 ;;
    -n) answer=$2 ;;
    -t) threads=$2 ;;
    --cpu) tier=$2 ;;
    --types) types=$2 ;;
    --peer-types) peer_types=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die "usage: kv_depth.sh [options] LLAMA_BIN_FOLDER MODEL..."
llama=$1/llama-bench
[ -z "$peer_types" ] || need_program "$llama" "build llama.cpp first"
shift
need_program "$quip" "sh app/start.sh builds it"

results=$(mktemp)
trap 'rm -f "$results" "$results.model"' EXIT
trap 'table; exit 1' INT TERM

# measure WHO TYPE REPETITIONS PROGRAM...: a line "WHO TYPE DEPTH KV_BYTES SPEED..." for each depth.
measure() {
    who=$1 type=$2 times=$3
    shift 3
    figures=$("$@" -m "$file" -p 0 -n "$answer" -d "$depths" -t "$threads" -r "$times" -ctk "$type" -ctv "$type" \
        -o json 2>/dev/null | python3 -c '
import json, sys
for test in json.load(sys.stdin):
    print(*sys.argv[1:], test["n_depth"], test.get("kv_bytes", 0), *test["samples_ts"])' "$who" "$type") ||
        die "$who with $type: no figures"
    echo "$figures" | tee -a "$results" >&2
}

table() {
    [ -s "$results" ] || return 0
    "$quip" inspect "$file" --json >"$results.model"
    python3 - "$results" "$results.model" "$answer" <<'PYTHON'
import collections, json, statistics, sys
model, answer = json.load(open(sys.argv[2])), int(sys.argv[3])
sizes = {t["name"]: t["bytes"] for t in model["tensors"]}
weights = sum(sizes.values()) - (sizes.get("token_embd.weight", 0) if "output.weight" in sizes else 0)
f16 = model["memory"]["cache_by_type"]["f16"] / model["memory"]["context"]
per_value = {"f16": 1, "q8_0": 34 / 64, "q4_0": 18 / 64}
speeds, kv = collections.defaultdict(list), {}
for line in open(sys.argv[1]):
    who, type, depth, n_bytes, *values = line.split()
    key = (who, type, int(depth))
    speeds[key] += map(float, values)
    if who == "quip" and int(n_bytes) and int(depth):
        kv[key] = int(n_bytes)
    else:
        kv[key] = f16 * per_value.get(type, 1) * (int(depth) + answer / 2)
print(f"{'':10} {'kv':5} {'depth':>6} {'tokens/s':>9} {'MB/token':>9} {'time':>6} {'bytes':>6}   all")
for who, type, depth in sorted(speeds, key=lambda k: (k[2], k[0] != "quip")):
    key, first = (who, type, depth), (who, type, min(k[2] for k in speeds if k[:2] == (who, type)))
    m = {k: statistics.median(speeds[k]) for k in (key, first)}
    n = {k: weights + kv[k] for k in (key, first)}
    print(f"{who:10} {type:5} {depth:6} {m[key]:9.1f} {n[key] / 1e6:9.1f} {m[first] / m[key]:6.2f} "
          f"{n[key] / n[first]:6.2f}   {' '.join(f'{v:.1f}' for v in speeds[key])}")
PYTHON
}

machine
for model; do
    file=$(file_of "$model")
    : >"$results"
    round=0
    while [ $round -lt "$rounds" ]; do
        for type in $types; do
            measure quip "$type" "$repeat" "$quip" bench ${tier:+--cpu "$tier"}
            case " $peer_types " in
            *" $type "*) measure llama.cpp "$type" 1 "$llama" -fa 1 ;;
            esac
        done
        round=$((round + 1))
    done
    echo
    echo "${file##*/}: tier $(tier_of "$file" "$tier"), $threads threads, answers of $answer tokens," \
        "median of $rounds rounds of $repeat; load after: $(cut -d ' ' -f 1 /proc/loadavg)"
    table
done
