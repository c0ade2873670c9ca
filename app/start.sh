#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Starts quip from a fresh checkout: installs what is missing, builds, fetches the default model and
# opens the chat. When all of that is there, it goes straight to the chat.
#
#   sh app/start.sh [arguments for quip]
#
# Without a question, a terminal or piped input it answers one demonstration question and ends.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/app/setup.sh"
quip=$top/.build/release/app/quip
default_model=$(awk '$1 == "name" { name = $2 } $1 == "role" && $2 == "default" { print name; exit }' \
    "$top/assets/models.txt")

# needs_model ARGUMENTS...: whether quip will look for the default model.
needs_model() {
    case ${1-} in
    '' | -* | run) ;;
    *) return 1 ;;
    esac
    for argument; do
        case $argument in
        -m* | --model | --model=* | -h | --help | --version) return 1 ;;
        esac
    done
}

need_packages "$packages_to_build"
lock_builds
# tests/run.sh shares this build and turns the tests on; the program is the same either way.
configure release "$(cat "$top/.build/release/options" 2>/dev/null || echo -DQUIP_TESTS=OFF)"
compile quip
unlock_builds
if needs_model "$@" && [ ! -e "${XDG_DATA_HOME:-$HOME/.local/share}/quip/models/$default_model.gguf" ]; then
    need_packages "$packages_to_fetch"
    sh "$top/app/fetch-model.sh" "$default_model"
fi

# asks_nothing ARGUMENTS...: whether they would open the chat, as no arguments do.
asks_nothing() {
    case ${1-} in
    '' | -*) ;;
    *) return 1 ;;
    esac
    for argument; do
        case $argument in
        -p* | --prompt | --prompt=* | -f* | --file | --file=* | -h | --help | --version) return 1 ;;
        esac
    done
}

if asks_nothing "$@" && [ ! -t 0 ] && [ ! -p /dev/stdin ] && [ ! -f /dev/stdin ] && [ ! -S /dev/stdin ]; then
    question='Why is the sky blue? Answer in two sentences.'
    say "No terminal and no piped input, so here is one demonstration question:"
    say "> $question"
    exec "$quip" run -n 200 "$@" -p "$question"
fi
exec "$quip" "$@"
