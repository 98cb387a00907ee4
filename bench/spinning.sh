#!/usr/bin/env bash
# What looking for work before sleeping gains and costs: on as many cores as there are, on one, with more schedulers than
# cores, each with nothing else to do and with a busy program for each core.
#
#   bench/spinning.sh
#
# Needs Linux, and taskset.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../scripts/common.sh"

cd "$root"
rebar3 compile
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/bench
mkdir -p "$build"
erlc -Wall -Werror +warn_missing_spec -o "$build" bench/*.erl
cores=$(nproc)

run() {
    local name=$1 mask=$2 schedulers=$3
    taskset -c "$mask" erl +S "$schedulers" -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
        -kernel logger_level error -eval 'bench_spinning:main().' -extra "$name"
}

every() {
    run "$1, all cores" "0-$((cores - 1))" "$cores"
    run "$1, one core" 0 1
    run "$1, 16 schedulers" "0-$((cores - 1))" 16
}

busy=()
stop() { if [ ${#busy[@]} -gt 0 ]; then kill "${busy[@]}" 2>/dev/null || true; fi; }
trap stop EXIT

printf '%-28s %-25s %8s %8s %8s %8s %8s\n' "" "" median p99 node threads sleeps
every quiet
for ((core = 0; core < cores; core++)); do
    taskset -c "$core" sh -c 'while :; do :; done' &
    busy+=($!)
done
every loaded
