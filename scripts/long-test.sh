#!/usr/bin/env bash
# Lets a suite that takes as long as one likes go on for so many seconds.
#
#   long-test.sh chaos|soak SECONDS [SEED]
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
name=${1^^} suite=$1_SUITE seed=${3:-$((RANDOM * 32768 + RANDOM))}
export "${name}_SECONDS=$2" "${name}_SEED=$seed"
say "$1 for $2 seconds, seed $seed"
PYTHON=$(scripts/find-python.sh)
export PYTHON PYO3_PYTHON=$PYTHON
exec rebar3 ct --suite "test/$suite"
