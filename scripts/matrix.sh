#!/usr/bin/env bash
# Runs the suites on pairs of OTP and Python, and prints one line for each. A pair that this machine
# has itself runs here; the others run in roots of other Debian releases.
#
#   matrix.sh [PAIR...]      such as 29-3.14 (default: all)
#
# Exit code 77: none of the pairs could run.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

[ $# -gt 0 ] || set -- 25-3.12 25-3.13 27-3.13 29-3.14 29-3.15
cache=${ERLANG_PYTHON_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/erlang_python}
mkdir -p "$cache/logs"

ran=0 bad=0 reason=
for pair in "$@"; do
    log=$cache/logs/$pair.log
    status=0
    "$root/scripts/matrix-pair.sh" "$pair" "$cache" >"$log" 2>&1 </dev/null || status=$?
    reason=$(tail -n 1 "$log")
    if [ "$status" = 77 ]; then
        echo "matrix $pair: skipped: $reason"
        continue
    fi
    ran=1
    [ "$status" = 0 ] || bad=1
    if [[ ! $reason =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]]; then
        reason="0 passed, 1 failed"
        bad=1
    fi
    # What failed, or passed only when it ran again; the whole end where nothing of that is told.
    if ! grep -E "^erlang_python: (failed|unsteady)" "$log" && [ "$status" != 0 ]; then
        tail -n 50 "$log" | sed "s/^/    | /"
    fi
    echo "matrix $pair: $reason"
done
if [ "$ran" = 0 ]; then exit 77; fi
exit "$bad"
