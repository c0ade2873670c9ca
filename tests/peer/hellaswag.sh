#!/bin/sh
# SPDX-License-Identifier: MIT
#
# HellaSwag by quip beside llama.cpp: the same tasks in the same order. Where they differ the two best endings should be
# near each other; the gap is shown, in nats per token.
#
#   sh tests/peer/hellaswag.sh [-n TASKS] [-t THREADS] LLAMA_BIN_FOLDER FILE MODEL...
#
# Without -n: 100 tasks; without -t: 2 threads. FILE has six lines a task, packed with bzip2 or not. MODEL is a file, or
# a name of assets/models.txt.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

tasks=100 threads=2
while [ $# -gt 0 ]; do
    case $1 in
    -n) tasks=$2 ;;
    -t) threads=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 3 ] || die "usage: hellaswag.sh [options] LLAMA_BIN_FOLDER FILE MODEL..."
llama=$1/llama-perplexity text=$2
shift 2
need_program "$llama" "build llama.cpp first"
need_program "$quip" "sh app/start.sh builds it"
[ -r "$text" ] || die "$text: cannot be read"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
case $text in
*.bz2) bzcat "$text" >"$folder/tasks.txt" ;;
*) cp "$text" "$folder/tasks.txt" ;;
esac

machine
for model; do
    file=$(file_of "$model")
    rm -f "$folder/ours.jsonl"
    "$quip" eval hellaswag "$folder/tasks.txt" -m "$file" --limit "$tasks" -t "$threads" --save "$folder/ours.jsonl" \
        >"$folder/ours.log" 2>&1 || die "quip: $(tail -n 1 "$folder/ours.log")"
    "$llama" -m "$file" -f "$folder/tasks.txt" --hellaswag --hellaswag-tasks "$tasks" -t "$threads" \
        >"$folder/theirs.log" 2>&1 || die "llama.cpp: $(tail -n 1 "$folder/theirs.log")"
    python3 - "${file##*/}" "$folder" <<'PYTHON'
import json, re, sys
name, folder = sys.argv[1:]
ours = [json.loads(line) for line in open(folder + "/ours.jsonl")][1:]
hits = [0]
for line in open(folder + "/theirs.log", errors="replace"):
    m = re.match(r"(\d+)\t\s*([0-9.]+)%", line)
    if m:
        hits.append(round(int(m[1]) * float(m[2]) / 100))
if len(hits) != len(ours) + 1:
    sys.exit(f"{name}: {len(ours)} answers of quip, {len(hits) - 1} of llama.cpp")
theirs = [b > a for a, b in zip(hits, hits[1:])]
def gap(answer):
    best = sorted(answer["scores"])[-2:]
    return best[1] - best[0]
differ = [o for o, t in zip(ours, theirs) if o["right"] != t]
n = len(ours)
print(f"{name}: {n} tasks, quip {100 * sum(o['right'] for o in ours) / n:.2f} %, llama.cpp {100 * hits[-1] / n:.2f} %, "
      f"{n - len(differ)} the same; median gap {sorted(map(gap, ours))[n // 2]:.4f}")
for o in differ:
    print(f"  task {o['task']}: quip {'right' if o['right'] else 'wrong'}, gap {gap(o):.4f}")
PYTHON
done
