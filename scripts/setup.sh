#!/usr/bin/env bash
# Installs what is missing on this machine, or names it with the command that would. Says nothing
# when all is there, and then needs no root.
#
#   setup.sh demo [EXAMPLE]
#   setup.sh test
#   setup.sh conformance
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
purpose=${1:-demo} example=${2:-}
apt_updated=

apt_update() {
    [ -z "$apt_updated" ] || return 0
    # An index that is out of date or out of reach still leaves the others usable.
    apt-get update -q >/dev/null || say "some package indexes could not be updated"
    apt_updated=1
}

# Installs Debian packages, or says why it cannot.
need() {
    if ! command -v apt-get >/dev/null; then
        die "install what these Debian packages hold, then try again: $*"
    elif [ "$(id -u)" != 0 ]; then
        die "run this, then try again: sudo apt-get install --no-install-recommends $*"
    fi
    say "installing $*"
    apt_update
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install $*"
}

can_install() { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }

# The version of a package that apt offers; nothing when it offers none.
offered() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

at_least() { printf '%s\n%s\n' "$1" "$2" | sort -V -C; }

# The applications among the arguments that this Erlang lacks.
missing_applications() {
    # shellcheck disable=SC2016
    erl -noshell -eval '
        [io:format("~s ", [A]) || A <- init:get_plain_arguments(),
                                  code:lib_dir(list_to_atom(A)) =:= {error, bad_name}],
        halt().' -extra "$@"
}

setup_tools() {
    local packages=()
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    command -v erl >/dev/null || packages+=(erlang-base erlang-dev)
    command -v rebar3 >/dev/null || packages+=(rebar3)
    if [ "$purpose" = test ]; then
        command -v git >/dev/null || packages+=(git)
        command -v mix >/dev/null || packages+=(elixir)
    fi
    [ ${#packages[@]} = 0 ] || need "${packages[@]}"
}

setup_erlang_applications() {
    local application wanted=(common_test eunit dialyzer tools proper mnesia) packages=()
    for application in $(missing_applications "${wanted[@]}"); do
        packages+=("erlang-${application//_/-}")
    done
    [ ${#packages[@]} = 0 ] || need "${packages[@]}"
    application=$(missing_applications "${wanted[@]}")
    [ -z "$application" ] || die "this Erlang, $(command -v erl), lacks the applications $application"
}

rust_fits() {
    local version
    version=$(cargo --version 2>/dev/null | awk '{ print $2 }')
    [ -n "$version" ] && at_least "$rust_wanted" "$version"
}

setup_rust() {
    local rust_wanted
    rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    rust_fits && return
    if ! command -v rustup >/dev/null && can_install; then
        apt_update
        if at_least "$rust_wanted" "$(offered cargo)"; then
            need cargo rustfmt rust-clippy
        elif [ -n "$(offered rustup)" ]; then
            need rustup
        fi
        hash -r
    fi
    if ! rust_fits && command -v rustup >/dev/null; then
        say "installing Rust: rustup toolchain install stable"
        rustup toolchain install stable --profile default && rustup default stable
    fi
    rust_fits || die "Rust $rust_wanted or newer is needed: install rustup," \
        "then run \`rustup toolchain install stable\` and \`rustup default stable\`."
}

setup_rust_tools() {
    if cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1; then
        return
    elif command -v rustup >/dev/null; then
        say "installing clippy and rustfmt"
        rustup component add clippy rustfmt
    else
        need rustfmt rust-clippy
    fi
}

setup_python() {
    local minor
    scripts/find-python.sh >/dev/null 2>&1 && return
    if [ -z "${PYTHON:-}" ] && can_install; then
        apt_update
        for minor in 3.14 3.13 3.15 3.12; do
            if [ -n "$(offered "libpython$minor-dev")" ]; then
                need "python$minor" "libpython$minor-dev"
                break
            fi
        done
    fi
    scripts/find-python.sh >/dev/null
}

# What virtual environments need. Debian has it in a package of its own.
setup_venv() {
    local python
    python=$(scripts/find-python.sh)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        need "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
}

setup_python_tools() {
    setup_venv
    scripts/venv.sh _build/tools scripts/requirements-check.txt
    scripts/test-venv.sh
}

# CPython's own tests; Debian has them in a package of their own. Where there are none, whoever wants to run them
# says so.
setup_python_tests() {
    local python package
    python=$(scripts/find-python.sh)
    "$python" -c 'import test.test_asyncio' 2>/dev/null && return
    package=libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite
    if [[ $python == /usr/bin/* ]] && can_install; then
        apt_update
        [ -z "$(offered "$package")" ] || need "$package"
    fi
}

setup_tools
setup_rust
setup_python
if [ "$purpose" = test ]; then
    setup_erlang_applications
    setup_rust_tools
    setup_python_tools
fi
if [ "$purpose" = conformance ]; then
    setup_python_tests
fi
if [ "$purpose" = demo ] &&
    { [ -f "examples/$example/requirements.txt" ] || [ -f "examples/$example/priv/requirements.txt" ]; }; then
    setup_venv
fi
