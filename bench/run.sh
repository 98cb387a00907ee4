#!/usr/bin/env bash
# Builds the application and the benchmarks, and runs them.
#
#   bench/run.sh [--quick] [calls] [load] [callbacks] [loop] [echo] [conversion] [cpu] [remote] [contexts] [idle]
#
# Without names all run. The figures depend on the machine and on what else it does, so no figure makes
# the exit code fail.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../scripts/common.sh"

cd "$root"
rebar3 compile
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/bench
mkdir -p "$build"
build_library bench_floor "$build/bench_floor.so"
erlc -Wall -Werror +warn_missing_spec -o "$build" bench/*.erl

# What the event loop is compared with; without it those rows are missing.
python=$("$root/scripts/find-python.sh")
uvloop=$build/uvloop
if [ ! -x "$uvloop/bin/python" ]; then
    if ! "$python" -m venv "$uvloop" || ! "$uvloop/bin/pip" --quiet install uvloop==0.23.0; then
        rm -rf "$uvloop"
        say "uvloop could not be installed: nothing is compared with it"
    fi
fi

exec erl -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
    -kernel logger_level error -eval 'bench:main().' -extra "$root/bench" "$build" "$@"
