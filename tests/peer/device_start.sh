#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Time from launch to the first token on a device: with nothing kept from before (the driver's shaders, quip's pipelines
# and self-test are made), and at later starts; the processor beside it.
#
#   sh tests/peer/device_start.sh [-r ROUNDS] [--device NAME] MODEL...
#
# Without options: 3 rounds, llvmpipe. MODEL is a file, or a name of assets/models.txt. QUIP says which program; two with
# a space between them are measured in turn. Each time is that of a process that answers with one token.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/peer/peer.sh"

rounds=3 device=llvmpipe
while [ $# -gt 0 ]; do
    case $1 in
    -r) rounds=$2 ;;
    --device) device=$2 ;;
    -*) die "$1 is not an option" ;;
    *) break ;;
    esac
    shift 2
done
[ $# -ge 1 ] || die "usage: device_start.sh [options] MODEL..."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# start PROGRAM WHEN DEVICE: appends the milliseconds to a list.
start() {
    before=$(date +%s%N)
    # The folders of Mesa's and of NVIDIA's own caches.
    XDG_CACHE_HOME=$folder/cache MESA_SHADER_CACHE_DIR=$folder/cache/mesa __GL_SHADER_DISK_CACHE_PATH=$folder/cache \
        "$1" run -m "$file" -p "Hello" -n 1 --temp 0 --device "$3" >"$folder/out" 2>"$folder/log" </dev/null ||
        die "quip: $(tail -n 1 "$folder/log")"
    echo $((($(date +%s%N) - before) / 1000000)) >>"$folder/$2-$n"
    grep -q 'on the CPU' "$folder/log" && die "$(grep 'on the CPU' "$folder/log")"
    return 0
}

machine
for model; do
    file=$(file_of "$model")
    rm -f "$folder"/cold-* "$folder"/warm-* "$folder"/cpu-*
    round=0
    while [ $round -lt "$rounds" ]; do
        n=0
        for program in $quip; do
            n=$((n + 1))
            mkdir -p "$folder/cache/mesa"
            start "$program" cold "$device"
            start "$program" warm "$device"
            start "$program" cpu cpu
            rm -rf "$folder/cache"
        done
        round=$((round + 1))
    done
    n=0
    for program in $quip; do
        n=$((n + 1))
        for when in cold warm cpu; do
            printf '%-24s %-6s ms: %s  (%s)\n' "${file##*/}" "$when" \
                "$(sort -n "$folder/$when-$n" | sed -n "$(((rounds + 1) / 2))p")" "$(tr '\n' ' ' <"$folder/$when-$n")"
        done
    done
done
