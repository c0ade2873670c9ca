#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Levels made by quip beside those that llama-quantize makes of the same source: bytes, seconds, most memory resident,
# and how far each is from the exact weights (mean KL divergence, both judged by quip).
#
#   sh tests/peer/quantize.sh [-l "LEVEL..."] [-i IMATRIX] [--cpu TIER] [-p TEXT [-n CHUNKS]] LLAMA_BIN_FOLDER SOURCE \
#       REFERENCE
#
# SOURCE is an F16 or F32 file whose weights lie on no format's grid, REFERENCE the exact log-probabilities of it as
# compare_logits.py takes them. Without -l: all recipes there are. With -p also the perplexity of quip's file in quip and
# in llama.cpp, over 20 chunks of 512 tokens of TEXT. differ: bytes of the tensors that are not the same in both files.
# Files are made in $TMPDIR, a pair at a time.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

levels="Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K"
imatrix='' tier='' text='' chunks=20
while [ $# -gt 0 ]; do
    case $1 in
    -l) levels=$2 ;;
    -i) imatrix=$2 ;;
    -p) text=$2 ;;
    -n) chunks=$2 ;;
    --cpu) tier=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -eq 3 ] || die "usage: quantize.sh [options] LLAMA_BIN_FOLDER SOURCE REFERENCE"
bin=$1 source=$2 reference=$3
need_program "$bin/llama-quantize" "build llama.cpp first"
need_program "$quip" "sh app/start.sh builds it"
[ -r "$source" ] || die "$source: cannot be read"
[ -r "$reference" ] || die "$reference: cannot be read"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# measured NAME COMMAND...: runs it; "SECONDS MIB" to NAME.cost.
measured() {
    name=$1
    shift
    python3 - "$dir/$name.cost" "$@" <<'PY' > "$dir/$name.log" 2>&1 || die "$* failed: $(tail -n 3 "$dir/$name.log")"
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[2:]).returncode
passed = time.monotonic() - start
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
open(sys.argv[1], "w").write(f"{passed:.1f} {most:.0f}")
sys.exit(code)
PY
}

# distance FILE: mean KL divergence.
distance() {
    python3 "$top/tests/peer/compare_logits.py" "$reference" --quip "$quip" -m "$1" ${tier:+--cpu "$tier"} |
        sed -n 's/.*mean KL \([^,]*\),.*/\1/p'
}

machine
printf '%-8s %13s %13s %8s %8s %8s %8s %10s %10s %7s %8s' level bytes theirs s theirs MiB theirs KL theirs ratio differ
[ -z "$text" ] || printf ' %9s %9s' PPL in-llama
printf '\n'
for level in $levels; do
    rm -f "$dir"/*.gguf
    measured ours "$quip" quantize "$source" "$dir/ours.gguf" "$level" ${imatrix:+--imatrix "$imatrix"}
    measured theirs "$bin/llama-quantize" ${imatrix:+--imatrix "$imatrix"} "$source" "$dir/theirs.gguf" "$level"
    ours_kl=$(distance "$dir/ours.gguf") theirs_kl=$(distance "$dir/theirs.gguf")
    differ=$(python3 "$top/tests/peer/differing_bytes.py" "$dir/ours.gguf" "$dir/theirs.gguf")
    read -r s mib < "$dir/ours.cost" || :
    read -r their_s their_mib < "$dir/theirs.cost" || :
    printf '%-8s %13s %13s %8s %8s %8s %8s %10s %10s %7s %8s' "$level" "$(wc -c < "$dir/ours.gguf")" \
        "$(wc -c < "$dir/theirs.gguf")" "$s" "$their_s" "$mib" "$their_mib" "$ours_kl" "$theirs_kl" \
        "$(awk -v a="$ours_kl" -v b="$theirs_kl" 'BEGIN { printf "%.3f", a / b }')" "$differ"
    if [ -n "$text" ]; then
        in_quip=$("$quip" perplexity -m "$dir/ours.gguf" -f "$text" -c 512 --chunks "$chunks" 2>&1 |
            sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' | tail -n 1)
        in_llama=$("$bin/llama-perplexity" -m "$dir/ours.gguf" -f "$text" -c 512 --chunks "$chunks" -t "$(nproc)" 2>&1 |
            sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p' | tail -n 1)
        printf ' %9s %9s' "$in_quip" "$in_llama"
    fi
    printf '\n'
done
