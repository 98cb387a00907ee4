#!/usr/bin/env bash
# Builds the application and runs an example.
#
#   demo.sh [NAME]
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
example=examples/${1:-source_metrics}
[ -x "$example/run.sh" ] || die "there is no example $example; what there is: $(cd examples && echo *)"
rebar3 compile
exec "$example/run.sh"
