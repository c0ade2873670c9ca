#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Time to the first token behind a long system prompt: cold, at a second start of the program (which finds the
# prompt in a file), and in a second chat of the same run (which finds it in memory).
#
#   sh tests/peer/kv_first_token.sh [-n TOKENS] [-r ROUNDS] [--cpu TIER] [--types "T ..."] TEXT MODEL...
#
# Without options: the first 2000 tokens of TEXT, 3 rounds, types auto and kv4. MODEL is a file, or a name of
# assets/models.txt. Cold and second start are two runs of the program with different questions; the whole
# time of the process is shown too. The second chat is measured by bench_first_token (built with the tests;
# BENCH_FOLDER says where) through engine.h alone.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

tokens=2000 rounds=3 tier= types="auto kv4"
while [ $# -gt 0 ]; do
    case $1 in
    -n) tokens=$2 ;;
    -r) rounds=$2 ;;
    --cpu) tier=$2 ;;
    --types) types=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die "usage: kv_first_token.sh [options] TEXT MODEL..."
text=$1
shift
second=${BENCH_FOLDER:-${quip%/app/quip}/tests/bench}/bench_first_token
need_program "$quip" "sh app/start.sh builds it"
need_program "$second" "ninja -C .build/release builds it"
[ -r "$text" ] || die "$text: cannot be read"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# The beginning of the text that has about so many tokens, ending with a word.
cut_text() {
    head -c $((tokens * 8)) "$text" >"$folder/long"
    n=$("$quip" tokenize -m "$file" -f "$folder/long" --ids | wc -w)
    head -c $((tokens * 8 * tokens / n)) "$folder/long" | sed '$s/ [^ ]*$//' >"$folder/system"
}

# start WHEN QUESTION: one process, one token.
start() {
    before=$(date +%s%N)
    XDG_CACHE_HOME=$folder/cache "$quip" run -m "$file" --system-file "$folder/system" -p "$2" -n 1 --temp 0 \
        --json -ctk "$type" -ctv "$type" ${tier:+--cpu "$tier"} >"$folder/out" 2>"$folder/log" </dev/null ||
        die "quip: $(tail -n 1 "$folder/log")"
    after=$(date +%s%N)
    python3 - "$folder/out" "$1" $(((after - before) / 1000000)) <<'PYTHON'
import json, sys
o = json.load(open(sys.argv[1]))
t = o["tokens"]
print(f"{sys.argv[2]:14} {o['kv']['type_k']:5} {o['timings']['first_ms']:10.1f} {t['prompt']:7} "
      f"{t['reused']:7} {t['loaded']:7}   process {int(sys.argv[3])} ms")
PYTHON
}

machine
for model; do
    file=$(file_of "$model")
    cut_text
    echo
    echo "${file##*/}: tier $(tier_of "$file" "$tier")"
    printf '%-14s %-5s %10s %7s %7s %7s\n' '' kv 'first ms' prompt reused loaded
    for type in $types; do
        round=0
        while [ $round -lt "$rounds" ]; do
            rm -rf "$folder/cache"
            start cold "What is this text about?"
            start "second start" "Name one thing that the text says."
            "$second" "$file" "$folder/system" "$type" ${tier:+"$tier"} || die "bench_first_token failed"
            round=$((round + 1))
        done
    done
done
