#!/usr/bin/env bash
# Ends nodes whose contexts are busy in ssl, json, threads, asyncio and, where there is a wheel, NumPy: halts.sh [COUNT].
# Each has to end with the status asked for, promptly, and never by a signal.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
rebar3 as test compile >/dev/null
library=_build/test/lib/erlang_python
exec erl -noinput -pa "$library/ebin" "$library/test/support" -run py_halts many "${1:-100}"
