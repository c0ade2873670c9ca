#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Speed of llama.cpp's n-gram speculation beside its own speed without: the texts of tests/bench/spec, greedy,
# with the model's chat template, all modes taking turns, medians over the rounds. quip's own on the same
# texts is measured by bench_spec (tests/bench), with the same options for rounds, threads, tokens and texts.
#
#   sh tests/peer/spec.sh [-r ROUNDS] [-t THREADS] [-n ANSWER] [-c CONTEXT] [--modes "M ..."] [--texts "T ..."]
#                         [--with "ARGUMENT ..."] [-o table|json] LLAMA_BIN_FOLDER MODEL...
#
# Without options: 3 rounds, 2 threads, answers of at most 256 tokens, a context of 8192, every text, and the
# modes off ngram-simple ngram-map-k ngram-mod ngram-cache as llama.cpp has them by itself; --with hands its
# server more arguments in all modes but off (--spec-ngram-simple-size-n 4, say). MODEL is a file, or a name of
# assets/models.txt. llama-server is built where it is not there yet: five to ten minutes on two cores.
#
# Each mode, text and round has a server of its own, since two of the modes (mod, cache) keep what earlier
# requests left; the prompts of one text follow each other in it. A text of one prompt is evaluated once and
# saved, and every server starts from that: all modes see the same cache. tokens/s counts what comes after the
# first token of each answer. "same" tells how many answers have the tokens of
# the first mode's. Every measurement is also written to stderr as it comes; stopped early (^C), the figures are
# of what stands. With -o json they are one object a line.
#
# A round takes long: two idle cores want some ten minutes for SmolLM2-135M and half an hour for a model of 1.5B
# (reckoned from their speed), most of it for gsm8k. A machine with other work is no use
# at all, since the threads wait for each other.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

rounds=3 threads=2 answer=256 context=8192 modes="off ngram-simple ngram-map-k ngram-mod ngram-cache"
texts="edit repeat quotes json prose gsm8k" with= output=table
while [ $# -gt 0 ]; do
    case $1 in
    -r) rounds=$2 ;;
    -t) threads=$2 ;;
    -n) answer=$2 ;;
    -c) context=$2 ;;
    --modes) modes=$2 ;;
    --texts) texts=$2 ;;
    --with) with=$2 ;;
    -o) output=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die "usage: spec.sh [options] LLAMA_BIN_FOLDER MODEL..."
server=$1/llama-server
shift
if [ ! -x "$server" ]; then
    build=$(dirname "$(dirname "$server")")
    [ -e "$build/CMakeCache.txt" ] || die "$build: no build of llama.cpp"
    cmake -DLLAMA_BUILD_SERVER=ON -DLLAMA_USE_PREBUILT_UI=OFF "$build" >&2
    cmake --build "$build" --target llama-server >&2
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'figures; exit 1' INT TERM

# measure TEXT MODE: a line of JSON with what the answers to all prompts of the text took.
# measure TEXT save: evaluates its one prompt and keeps the state for the others.
measure() {
    arguments="-t $threads -tb $threads -c $context"
    case $2 in
    off | save) ;;
    *) arguments="$arguments --spec-type $2 $with" ;;
    esac
    python3 - "$top/tests/bench/spec" "$folder" "$1" "$2" "$answer" "${file##*/}" \
        "$server" -m "$file" $arguments <<'PYTHON' || die "llama-server, $2, $1: $(tail -n 3 "$folder/log")"
import json, os, signal, socket, subprocess, sys, time, urllib.error, urllib.request
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):    # whatever stops this stops the server
    signal.signal(number, lambda *_: sys.exit("stopped"))
texts, folder, text, mode, answer, model, *command = sys.argv[1:]

def prompts():
    for line in open(f"{texts}/texts.txt"):
        name, *rest = line.rstrip("\n").split(maxsplit=2)
        if name == text:
            body = open(f"{texts}/{rest[0]}").read()
            instruction, _, begun = rest[1].partition(" || ") if rest[1:] else ("", "", "")
            return [instruction + "\n\n" + body] if rest[1:] else body.splitlines(), begun.replace("\\n", "\n")
    sys.exit(f"{text}: not in texts.txt")

messages, begun = prompts()
if mode == "save" and len(messages) > 1:
    sys.exit()
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)

def complete(prompt, n):
    return ask("/completion", {"prompt": prompt, "n_predict": n, "temperature": 0, "top_k": 1, "id_slot": 0,
                               "cache_prompt": True, "return_tokens": True})

def slot(action):
    ask(f"/slots/0?action={action}", {"filename": state})

def wait_for(server):
    while server.poll() is None:
        try:
            return ask("/health")
        except (urllib.error.URLError, ConnectionError):    # not listening yet, or still loading
            time.sleep(0.05)
    sys.exit("the server ended")

state = f"{text}.state"
command += ["--host", "127.0.0.1", "--port", str(port), "-np", "1", "-fa", "on", "--cache-ram", "0", "--no-ui",
            "--slot-save-path", folder + "/"]
with open(f"{folder}/log", "w") as log:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
try:
    wait_for(server)
    asked = [ask("/apply-template", {"messages": [{"role": "user", "content": m}]})["prompt"] + begun
             for m in messages]
    if mode == "save":
        complete(asked[0], 1)
        slot("save")
        sys.exit()
    if os.path.exists(f"{folder}/{state}"):
        slot("restore")
    result = {"model": model, "text": text, "mode": mode, "n_prompt": 0, "n": 0, "ms": 0, "drafted": 0,
              "accepted": 0, "ids": []}
    for prompt in asked:
        a = complete(prompt, int(answer))
        t = a["timings"]
        result["n_prompt"] += t["cache_n"] + t["prompt_n"]
        result["n"] += t["predicted_n"] - 1
        result["ms"] += t["predicted_ms"]
        result["drafted"] += t.get("draft_n", 0)
        result["accepted"] += t.get("draft_n_accepted", 0)
        result["ids"].append(a["tokens"])
finally:
    server.kill()    # asked politely, it first ends its answer
    server.wait()
line = json.dumps(result)
open(f"{folder}/results", "a").write(line + "\n")
print(f"{text:8} {mode:14} {result['n'] * 1e3 / result['ms']:8.2f} tokens/s, {result['n']} tokens", file=sys.stderr)
PYTHON
}

# figures: of all rounds of this model.
figures() {
    [ -s "$folder/results" ] || return 0
    python3 - "$folder/results" "$output" "$threads" "$answer" <<'PYTHON'
import collections, json, statistics, sys
path, output, threads, answer = sys.argv[1:]
rounds = collections.defaultdict(list)    # in the order of measuring
for line in open(path):
    r = json.loads(line)
    rounds[r["text"], r["mode"]].append(r)

rows = []
for (text, mode), mine in rounds.items():
    first = next(v for (t, _), v in rounds.items() if t == text)
    speeds = [r["n"] * 1e3 / r["ms"] for r in mine]
    base = [r["n"] * 1e3 / r["ms"] for r in first]
    rows.append({"program": "llama.cpp", "model": mine[0]["model"], "text": text, "mode": mode,
                 "n_threads": int(threads), "n_predict": int(answer), "n_prompt": mine[0]["n_prompt"],
                 "n_answers": len(mine[0]["ids"]),
                 "n_same": sum(a == b for a, b in zip(mine[0]["ids"], first[0]["ids"])),
                 "n_generated": mine[0]["n"], "n_drafted": mine[0]["drafted"], "n_accepted": mine[0]["accepted"],
                 "median_ts": statistics.median(speeds),
                 "ratio": statistics.median(speeds) / statistics.median(base), "samples_ts": speeds})
if output == "json":
    for r in rows:
        print(json.dumps(r))
    sys.exit()
print(f"{'text':8} {'mode':14} {'tokens/s':>9} {'ratio':>6} {'prompt':>7} {'tokens':>7} {'drafted':>8} "
      f"{'accepted':>9} {'same':>6}   all")
for r in rows:
    same = f"{r['n_same']}/{r['n_answers']}"
    print(f"{r['text']:8} {r['mode']:14} {r['median_ts']:9.2f} {r['ratio']:6.2f} {r['n_prompt']:7} "
          f"{r['n_generated']:7} {r['n_drafted']:8} {r['n_accepted']:9} {same:>6}   "
          f"{' '.join(f'{v:.2f}' for v in r['samples_ts'])}")
PYTHON
}

machine >&2
for model; do
    file=$(file_of "$model")
    rm -rf "$folder"/*
    for text in $texts; do
        measure "$text" save
    done
    round=0
    while [ $round -lt "$rounds" ]; do
        for text in $texts; do
            for mode in $modes; do
                measure "$text" "$mode"
            done
        done
        round=$((round + 1))
    done
    echo "${file##*/}: $threads threads, answers of $answer tokens, context $context, median of $rounds rounds;" \
        "load after: $(cut -d ' ' -f 1 /proc/loadavg)" >&2
    figures
done
