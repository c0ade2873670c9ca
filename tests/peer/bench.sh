#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Speed of quip beside llama.cpp: same file, same threads, the two taking turns, so that a machine that
# gets slower meanwhile gets slower for both; medians are what is compared.
#
#   sh tests/peer/bench.sh [-r ROUNDS] [-t THREADS] [-p PROMPT] [-n ANSWER] LLAMA_BIN_FOLDER MODEL...
#   sh tests/peer/bench.sh --busy [...] MODEL...      quip alone: idle, and beside one busy loop per thread
#
# MODEL is a file, or a name of assets/models.txt. Without -p and -n: 512 and 128; 5 rounds, 2 threads.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

rounds=5 threads=2 prompt=512 answer=128 busy=no
while [ $# -gt 0 ]; do
    case $1 in
    -r) rounds=$2 ;;
    -t) threads=$2 ;;
    -p) prompt=$2 ;;
    -n) answer=$2 ;;
    --busy)
        busy=yes
        shift
        continue
        ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
if [ "$busy" = no ]; then
    [ $# -ge 2 ] || die "usage: bench.sh [options] LLAMA_BIN_FOLDER MODEL..."
    llama=$1/llama-bench
    need_program "$llama" "build llama.cpp first"
    shift
fi
[ $# -ge 1 ] || die "usage: bench.sh --busy [options] MODEL..."
need_program "$quip" "sh app/start.sh builds it"

results=$(mktemp)
loops=
stop_loops() {
    [ -z "$loops" ] || kill $loops 2>/dev/null || :
    loops=
}
start_loops() {
    i=0
    while [ $i -lt "$threads" ]; do
        sh -c 'while :; do :; done' &
        loops="$loops $!"
        i=$((i + 1))
    done
}
trap 'stop_loops; rm -f "$results"' EXIT
trap 'exit 1' INT TERM

# measure WHO PROGRAM...: appends "WHO prompt|answer TOKENS_PER_SECOND" lines to the results.
measure() {
    who=$1
    shift
    "$@" -m "$file" -p "$prompt" -n "$answer" -t "$threads" -r 1 -o json 2>/dev/null |
        python3 -c '
import json, sys
for test in json.load(sys.stdin):
    print(sys.argv[1], "prompt" if test["n_prompt"] else "answer", test["avg_ts"])' "$who" >>"$results"
}

# medians A B: a table of both, and A / B.
medians() {
    python3 - "$results" "$1" "$2" <<'PYTHON'
import statistics, sys
rows = [line.split() for line in open(sys.argv[1])]
a, b = sys.argv[2:]
print(f"{'':8}{a:>11}{b:>11}   ratio   rounds ({a} | {b})")
for test in ("prompt", "answer"):
    values = {who: [float(v) for w, t, v in rows if w == who and t == test] for who in (a, b)}
    m = {who: statistics.median(values[who]) for who in (a, b)}
    each = " | ".join(" ".join(f"{v:.1f}" for v in values[who]) for who in (a, b))
    print(f"{test:8}{m[a]:11.1f}{m[b]:11.1f}{m[a] / m[b]:8.3f}   {each}")
PYTHON
}

machine
for model; do
    file=$(file_of "$model")
    : >"$results"
    round=0
    while [ $round -lt "$rounds" ]; do
        measure quip "$quip" bench
        if [ "$busy" = yes ]; then
            start_loops
            measure busy "$quip" bench
            stop_loops
        else
            measure llama.cpp "$llama"
        fi
        round=$((round + 1))
    done
    echo
    echo "${file##*/}: $threads threads, tokens/s, prompt of $prompt, answer of $answer, median of $rounds"
    if [ "$busy" = yes ]; then medians busy quip; else medians quip llama.cpp; fi
done
