#!/usr/bin/env bash
# Tries inputs made at random for as many seconds, on each kind in turn.
#
#   fuzz.sh SECONDS [SEED] [KIND]     kinds are the cases of test/fuzz_SUITE.erl
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
seconds=$1 seed=${2:-$((RANDOM * 32768 + RANDOM))} kind=${3:-}
kinds=$(grep -c '^any_.*-> holds(' test/fuzz_SUITE.erl)
each=$((seconds / kinds))
if [ -n "$kind" ]; then each=$seconds; fi
say "seed $seed, $each seconds for each kind of input"
export FUZZ_SECONDS=$((each > 0 ? each : 1)) FUZZ_SEED=$seed
PYTHON=$(scripts/find-python.sh)
export PYTHON PYO3_PYTHON=$PYTHON
if [ -n "$kind" ]; then
    exec rebar3 ct --suite test/fuzz_SUITE --case "$kind"
else
    exec rebar3 ct --suite test/fuzz_SUITE
fi
