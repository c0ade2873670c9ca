# SPDX-License-Identifier: MIT
#
# What the comparisons with llama.cpp share; sourced with $top set to the top of the tree.

quip=${QUIP:-$top/.build/release/app/quip}

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

need_program() { [ -x "$1" ] || die "$1 is not there; $2"; }

# machine: what the figures depend on, in one line.
machine() {
    flags=$(grep -m 1 '^flags' /proc/cpuinfo)
    sort=plain
    case $flags in *avx2*) sort=AVX2 ;; esac
    case $flags in *avx512_vnni*) sort='AVX-512 VNNI' ;; esac
    echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $sort;" \
        "load before: $(cut -d ' ' -f 1 /proc/loadavg)"
}

# file_of MODEL: a file as it is, or a name of assets/models.txt in the model folder.
file_of() {
    path=$1
    [ -e "$path" ] || path=${XDG_DATA_HOME:-$HOME/.local/share}/quip/models/$1.gguf
    [ -e "$path" ] || die "$1: neither a file nor a model that is here"
    echo "$path"
}

# tier_of FILE TIER: TIER, or where it is empty the one quip takes by itself.
tier_of() {
    [ -z "$2" ] || { echo "$2" && return; }
    "$quip" bench -m "$1" -p 1 -n 0 -r 1 --no-warmup -o json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["cpu_tier"])'
}
