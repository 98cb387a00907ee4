#!/usr/bin/env bash
# Builds the application and the benchmarks, and runs them.
#
#   bench/run.sh [--quick] [calls] [load] [callbacks] [conversion] [cpu] [remote] [contexts] [idle]
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

exec erl -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
    -kernel logger_level error -eval 'bench:main().' -extra "$root/bench" "$build" "$@"
