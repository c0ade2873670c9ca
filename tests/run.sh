#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds quip and its tests and runs them all; installs what is missing first. Ends with the reason of
# every case that was skipped and with the counts. The exit status is that of the tests.
#
#   sh tests/run.sh [--asan | --tsan] [arguments for ctest, as -R gguf]
#
# The sanitizer builds have build folders of their own. Golden tests of real models want the default
# model: it is fetched when there is a network, and without one they say why they are skipped.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/app/setup.sh"

need_packages "$packages_to_build$packages_to_fetch$packages_to_test"
lock_builds
case ${1-} in
--asan)
    shift
    configure asan -DQUIP_TESTS=ON -DQUIP_ASAN=ON
    ;;
--tsan)
    shift
    configure tsan -DQUIP_TESTS=ON -DQUIP_TSAN=ON
    ;;
*) configure release -DQUIP_TESTS=ON ;;
esac
compile
unlock_builds
sh "$top/app/fetch-model.sh" smollm2-135m || say "Going on without the default model"

status=0
ctest --test-dir "$build" --output-on-failure --output-log "$build/tests.log" -j "$(nproc)" "$@" || status=$?

# The programs' own output is in ctest's log, whole also for those that passed.
details=$build/Testing/Temporary/LastTest.log
skipped=$(awk '/^[0-9]+\/[0-9]+ Testing: / { name = $3 }
    /skipped because: / { sub(/.*skipped because: /, ""); print "  " name ": " $0 }' "$details")
n_skipped=0
if [ -n "$skipped" ]; then
    n_skipped=$(echo "$skipped" | wc -l)
    echo
    echo "Skipped because:"
    echo "$skipped"
fi
cases=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test(s).*/\1/p' "$details" | awk '{ n += $1 } END { print n + 0 }')
echo
echo "$(grep 'tests passed' "$build/tests.log"); $cases cases passed, $n_skipped skipped"
exit $status
