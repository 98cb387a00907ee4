#!/usr/bin/env bash
# Builds the application and runs the example.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
rebar3 compile
exec examples/source_metrics/run.sh
