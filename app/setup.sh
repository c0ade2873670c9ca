# SPDX-License-Identifier: MIT
#
# What app/start.sh and tests/run.sh have in common: packages and the build. Sourced with $top set to
# the top of the tree. Messages go to stderr, because stdout belongs to the program's answer.

say() { printf '%s\n' "$*" >&2; }

# A line per Debian package: its name, and how to see that the same thing is here from elsewhere
# (a program, a pkg-config module, a file), for systems that did not get it as that package.
packages_to_build='
gcc                    program gcc
libc6-dev              file /usr/include/stdio.h
cmake                  program cmake
ninja-build            program ninja
pkg-config             program pkg-config
libjansson-dev         module jansson
libncurses-dev         module ncursesw
libutf8proc-dev        module libutf8proc
libuv1-dev             module libuv
libvulkan-dev          module vulkan
libxxhash-dev          module libxxhash
mesa-vulkan-drivers    file /usr/share/vulkan/icd.d/lvp_icd.x86_64.json
glslang-tools          program glslangValidator
'
packages_to_fetch='
ca-certificates        file /etc/ssl/certs/ca-certificates.crt
python3                program python3
python3-pip            program pip3
unzip                  program unzip
'
packages_to_test='
libcmocka-dev          module cmocka
vulkan-validationlayers  file /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json
'
packages_to_fuzz='
clang                  program clang
libclang-rt-14-dev     file /usr/lib/llvm-14/lib/clang
'

is_here() {
    case $1 in
    program) command -v "$2" >/dev/null ;;
    module) pkg-config --exists "$2" 2>/dev/null ;;
    file) [ -e "$2" ] ;;
    esac
}

# missing LIST: the packages of the list that are neither installed nor here from elsewhere.
missing() {
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $(echo "$1" | awk '{ print $1 }') 2>/dev/null |
        sed -n 's/^ii *//p') || :
    echo "$1" | while read -r package kind what; do
        [ -n "$package" ] || continue
        echo "$installed" | grep -qxF "$package" || is_here "$kind" "$what" || printf ' %s' "$package"
    done
}

# need_packages LIST: installs what is missing; without root it says what to do, and ends the script.
need_packages() {
    wanted=$(missing "$1")
    [ -n "$wanted" ] || return 0
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    if ! command -v apt-get >/dev/null; then
        say "Not here, and there is no apt-get to install them with (Debian's names):$wanted"
        exit 1
    elif [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
        say "Some packages are missing. As root, please run:"
        say "  apt-get update && apt-get install --no-install-recommends$wanted"
        exit 1
    fi
    say "Installing Debian packages:$wanted"
    mkdir -p "$top/.build"
    if ! { $as_root apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        $as_root apt-get install -q -y --no-install-recommends $wanted; } >"$top/.build/apt.log" 2>&1; then
        tail -n 20 "$top/.build/apt.log" >&2
        say "The packages could not be installed; the lines above are the end of .build/apt.log"
        exit 1
    fi
}

# lock_builds, unlock_builds: two scripts started at once build one after the other.
lock_builds() {
    mkdir -p "$top/.build"
    exec 8>"$top/.build/lock"
    flock -n 8 || { say "Another build is running; waiting for it"; flock 8; }
}
unlock_builds() { exec 8>&-; }

# configure FOLDER OPTIONS...: makes .build/FOLDER with these cmake options, when it is not so already.
# ninja notices a changed CMakeLists.txt itself, but not a new one; hence the look at all of them.
configure() {
    build=$top/.build/$1
    stamp=$build/options
    shift
    if [ -e "$build/build.ninja" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$*" ] &&
        [ -z "$(find "$top/CMakeLists.txt" "$top/engine" "$top/app" "$top/tests" \
            -name CMakeLists.txt -newer "$stamp")" ]; then
        return 0
    fi
    mkdir -p "$build"
    if ! cmake -S "$top" -B "$build" -G Ninja "$@" >"$build/cmake.log" 2>&1; then
        cat "$build/cmake.log" >&2
        say "cmake failed"
        exit 1
    fi
    echo "$*" >"$stamp"
}

# compile TARGETS...: in the folder configured last; silent when all is up to date.
compile() {
    case $(ninja -C "$build" -n "$@" 2>&1) in
    *Re-running*) ;;
    *'no work to do'*) return 0 ;;
    esac
    say "Building in .build/${build##*/} (a minute or two the first time)"
    if [ -t 2 ]; then
        ninja -C "$build" "$@" >&2 && return 0
    else
        ninja -C "$build" "$@" >"$build/ninja.log" 2>&1 && return 0
        grep -v '^\[[0-9]*/[0-9]*\] [BL]' "$build/ninja.log" >&2 || :
    fi
    say "The build failed"
    exit 1
}
