#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Speed on a Vulkan device, quip beside llama.cpp's Vulkan build on the same one: prompts of 512 and answers of 128
# tokens at depths 0 and 8192, with f16 and q8_0 keys and values, the two programs taking turns, medians.
#
#   sh tests/peer/vulkan.sh [-r ROUNDS] [-d DEPTHS] [--types "T ..."] DEVICE LLAMA_BIN_FOLDER MODEL...
#
# DEVICE is what --device takes ("vulkan": the best that is no software). First bench_vulkan (built beside quip; its
# path in BENCH_VULKAN where it is elsewhere) says what the device gives at best: bytes copied a second, the time of a
# level, bytes of weights that products read. Beside each answer's speed: the weights and the cache it reads a second,
# in percent of that copy. Models of random weights at the sizes that matter: tests/peer/random_model.sh, with
# -p llama-1b and llama-8b, -q Q4_K_M, Q6_K, Q8_0. llama.cpp takes the first device it finds.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

rounds=3 depths=0,8192 types="f16 q8_0"
while [ $# -gt 0 ]; do
    case $1 in
    -r) rounds=$2 ;;
    -d) depths=$2 ;;
    --types) types=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 3 ] || die "usage: vulkan.sh [options] DEVICE LLAMA_BIN_FOLDER MODEL..."
device=$1 llama=$2/llama-bench bench=${BENCH_VULKAN:-${quip%/app/quip}/tests/bench/bench_vulkan}
shift 2
need_program "$quip" "sh app/start.sh builds it"
need_program "$llama" "build llama.cpp with Vulkan first"
need_program "$bench" "build the target bench_vulkan, or say where it is in BENCH_VULKAN"

results=$(mktemp)
trap 'rm -f "$results" "$results.model"' EXIT
trap 'table; exit 1' INT TERM

# measure WHO TYPE PROGRAM...: lines "WHO TYPE TEST DEPTH SPEED" with TEST prompt or answer.
measure() {
    who=$1 type=$2
    shift 2
    "$@" -m "$file" -p 512 -n 128 -d "$depths" -r 1 -ctk "$type" -ctv "$type" -o json 2>/dev/null | python3 -c '
import json, sys
for test in json.load(sys.stdin):
    print(*sys.argv[1:], "prompt" if test["n_prompt"] else "answer", test.get("n_depth", 0), test["avg_ts"])' \
        "$who" "$type" | tee -a "$results" >&2
}

table() {
    [ -s "$results" ] || return 0
    "$quip" inspect "$file" --json >"$results.model"
    python3 - "$results" "$results.model" "$copy" <<'PYTHON'
import collections, json, statistics, sys
model, copy = json.load(open(sys.argv[2])), float(sys.argv[3])
sizes = {t["name"]: t["bytes"] for t in model["tensors"]}
weights = sum(sizes.values()) - (sizes.get("token_embd.weight", 0) if "output.weight" in sizes else 0)
f16 = model["memory"]["cache_by_type"]["f16"] / model["memory"]["context"]
per_value = {"f16": 1, "q8_0": 34 / 64}
values = collections.defaultdict(list)
for line in open(sys.argv[1]):
    who, type, test, depth, speed = line.split()
    values[test, type, int(depth), who].append(float(speed))
print(f"{'':8}{'kv':6}{'depth':>6}{'quip':>10}{'llama.cpp':>11}{'ratio':>8}{'of copy':>9}")
for test, type, depth in sorted({key[:3] for key in values}):
    quip, peer = (statistics.median(values[test, type, depth, who] or [0]) for who in ("quip", "llama.cpp"))
    read = (weights + f16 * per_value.get(type, 1) * depth) * quip if test == "answer" else 0
    print(f"{test:8}{type:6}{depth:6}{quip:10.1f}{peer:11.1f}{quip / peer if peer else 0:8.2f}"
          f"{100 * read / copy / 1e9:8.0f}%")
PYTHON
}

machine
figures=$("$bench" --device "$device")
echo "$figures"
copy=$(echo "$figures" | awk '$1 == "copy" { print $2 }')
for model; do
    file=$(file_of "$model")
    : >"$results"
    round=0
    while [ $round -lt "$rounds" ]; do
        for type in $types; do
            measure quip "$type" "$quip" bench --device "$device"
            measure llama.cpp "$type" "$llama" -ngl 99 -fa 1
        done
        round=$((round + 1))
    done
    echo
    echo "${file##*/}: tokens/s, median of $rounds rounds"
    table
done
