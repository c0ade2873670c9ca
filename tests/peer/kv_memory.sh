#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the cache takes of the memory, measured: resident bytes of a process that holds a context, less those
# of the same process at 64 tokens, beside the figure that quip computes.
#
#   sh tests/peer/kv_memory.sh [-d DEPTHS] [--cpu TIER] [--types "T ..."] MODEL...
#
# Without options: 4096,16384,32768 tokens; f16 q8_0 kv4. MODEL is a file, or a name of assets/models.txt.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

depths=4096,16384,32768 tier= types="f16 q8_0 kv4"
while [ $# -gt 0 ]; do
    case $1 in
    -d) depths=$2 ;;
    --cpu) tier=$2 ;;
    --types) types=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 1 ] || die "usage: kv_memory.sh [options] MODEL..."
need_program "$quip" "sh app/start.sh builds it"

machine
for model; do
    file=$(file_of "$model")
    echo
    echo "${file##*/}: tier $(tier_of "$file" "$tier")"
    from=1
    for type in $types; do
        "$quip" bench -m "$file" --memory -d "$depths" -ctk "$type" -ctv "$type" ${tier:+--cpu "$tier"} |
            tail -n +$from
        from=3    # one heading is enough
    done
done
