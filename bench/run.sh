#!/usr/bin/env bash
# Builds the application and the benchmarks, and runs them.
#
#   bench/run.sh [--quick] [calls] [load] [inline] [callbacks] [telemetry] [output] [state] [streams] [batches] [loop] [echo] [reactor] [web] [conversion] [cpu] [remote] [contexts] [births] [sandbox] [limits] [interrupts] [idle]
#
# Without names all run. The figures depend on the machine and on what else it does, so no figure makes
# the exit code fail.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../scripts/common.sh"

# Builds a program of the workspace, and installs it.
#
#   build_program PACKAGE FILE
build_program() {
    local target=${CARGO_TARGET_DIR:-$root/target}
    cargo build --release --locked --package "$1" --manifest-path "$root/Cargo.toml" --target-dir "$target"
    cp -f "$target/release/$1" "$2"
}

cd "$root"
rebar3 compile
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/bench
mkdir -p "$build"
build_library bench_floor "$build/bench_floor.so"
build_program bench_wire "$build/bench_wire"
erlc -Wall -Werror +warn_missing_spec -o "$build" bench/*.erl

# What the event loop, reactors and the web server are compared with; without it those rows are missing.
python=$("$root/scripts/find-python.sh")
uvloop=$build/uvloop
if ! "$uvloop/bin/python" -c 'import h11, httptools, uvicorn, uvloop' 2>/dev/null; then
    rm -rf "$uvloop"
    if ! "$python" -m venv "$uvloop" ||
        ! "$uvloop/bin/pip" --quiet install uvloop==0.23.0 uvicorn==0.54.0 h11==0.16.0 httptools==0.9.0; then
        rm -rf "$uvloop"
        say "uvloop and uvicorn could not be installed: nothing is compared with them"
    fi
fi

exec erl -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
    -kernel logger_level error -eval 'bench:main().' -extra "$root/bench" "$build" "$@"
