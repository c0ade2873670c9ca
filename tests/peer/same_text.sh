#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Greedy answers of a device beside the processor's, token for token: the same, or where they part and how near the
# two tokens are to each other there. A device computes in f32 and is held against the exact tier; beside it the best
# tier of the processor, whose activations are rounded to 8 bits.
#
#   sh tests/peer/same_text.sh [-n TOKENS] DEVICE MODEL...
#
# MODEL is a file, or a name of assets/models.txt. 64 tokens without -n.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

n=64
while [ $# -gt 0 ]; do
    case $1 in
    -n) n=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || die "usage: same_text.sh [-n TOKENS] DEVICE MODEL..."
device=$1
shift
need_program "$quip" "sh app/start.sh builds it"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

answer() {
    name=$1
    shift
    "$quip" run -m "$file" -p "$prompt" -n "$n" --temp 0 --spec off --json "$@" >"$folder/$name"
}

# part NAME: the number of ids that the device's answer and NAME's begin with alike; and the two ids that follow.
part() {
    python3 - "$folder/device" "$folder/$1" <<'PYTHON'
import json, sys
a, b = (json.load(open(path))["tokens"]["ids"] for path in sys.argv[1:])
n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
print(n, *(a[n:n + 1] + b[n:n + 1]))
PYTHON
}

# nearness N A B: how far apart ids A and B are after N tokens of the answer, as the exact tier has it.
nearness() {
    python3 - "$prompt" >"$folder/messages" <<'PYTHON'
import json, sys
print(json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}], "add_generation_prompt": True}))
PYTHON
    "$quip" template -m "$file" "$folder/messages" |
        "$quip" tokenize -m "$file" -f - --special --no-bos --ids >"$folder/ids"
    python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["tokens"]["ids"][:int(sys.argv[2])])' \
        "$folder/device" "$1" >>"$folder/ids"
    "$quip" logits -m "$file" --ids "$folder/ids" -o "$folder/logits" --device cpu --cpu exact
    python3 - "$folder" "$2" "$3" <<'PYTHON'
import array, os, sys
folder, a, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
n_rows = len(open(f"{folder}/ids").read().split())
width = os.path.getsize(f"{folder}/logits") // 4 // n_rows
with open(f"{folder}/logits", "rb") as f:
    f.seek(-4 * width, os.SEEK_END)
    row = array.array("f", f.read())
print(f"exact logits {row[a]:.4f} and {row[b]:.4f}, best {max(row):.4f}")
PYTHON
}

machine
for model; do
    file=$(file_of "$model")
    for prompt in "Name three rivers and say where they flow." "Write a C function that reverses a string."; do
        answer device --device "$device"
        answer exact --device cpu --cpu exact
        answer best --device cpu
        for other in exact best; do
            read -r same a b <<END
$(part $other)
END
            echo "${file##*/}, \"$prompt\": $same tokens as the $other tier's"
            [ -z "$b" ] || echo "    then $a and $b: $(nearness "$same" "$a" "$b")"
        done
    done
done
