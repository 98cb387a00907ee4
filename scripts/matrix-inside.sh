#!/usr/bin/env bash
# Runs the suites inside a root, which must have the expected OTP and Python.
#
#   matrix-inside.sh OTP MINOR
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

release=$(otp_release)
[ "$release" = "$1" ] || die "this root has OTP $release, not $1."
PYTHON=$("$root/scripts/find-python.sh" "$2")
export PYTHON
exec "$root/scripts/run-checks.sh" suites
