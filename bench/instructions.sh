#!/usr/bin/env bash
# Counts the instructions of calls, conversions, callbacks and echoes, and compares them with those that were recorded.
#
#   bench/instructions.sh [--record]
#
# Needs valgrind, whose callgrind counts what the whole node executes: the figures do not depend on what else the
# machine does, and hardly on the machine. They do depend on the versions of OTP and Python, so each pair has a file of
# its own under recorded/. No figure makes the exit code fail.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../scripts/common.sh"

command -v valgrind >/dev/null ||
    die "valgrind is not installed: it counts the instructions. On Debian: apt-get install valgrind"

cd "$root"
rebar3 compile
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/bench
counts=$build/counts
mkdir -p "$build"
rm -rf "$counts"
mkdir "$counts"
build_library bench_floor "$build/bench_floor.so"
erlc -Wall -Werror +warn_missing_spec -o "$build" bench/*.erl

# The emulator itself, without the programs that start it: valgrind would count those, and lose it when they do.
ROOTDIR=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
BINDIR=$(find "$ROOTDIR" -maxdepth 1 -name 'erts-*' | sort -V | tail -n 1)/bin
export ROOTDIR BINDIR EMU=beam PROGNAME=erl

# One core, on which nothing spins; one scheduler of each kind. What the emulator compiles at run time lies in memory
# that is mapped twice, whose changes valgrind does not see unless it is told to look.
one_core=()
if command -v taskset >/dev/null; then one_core=(taskset -c 0); fi
"${one_core[@]}" valgrind --quiet --tool=callgrind --fair-sched=try --smc-check=all --instr-atstart=no \
    --callgrind-out-file="$counts/out" --log-file="$counts/log" \
    "$BINDIR/beam.smp" -S 1 -SDcpu 1 -SDio 1 -A 1 -sbwt none -sbwtdcpu none -sbwtdio none \
    -- -root "$ROOTDIR" -bindir "$BINDIR" -progname erl -- -home "$HOME" -- \
    -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin -kernel logger_level error \
    -eval 'bench_instructions:main().' -extra "$root/bench" | tee "$counts/versions" ||
    die "the node has failed; what valgrind says is in $counts/log"

"$("$root/scripts/find-python.sh")" -E -s "$root/bench/instructions_report.py" "$counts" "$root/bench/recorded" "$@"
