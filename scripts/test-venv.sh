#!/usr/bin/env bash
# Makes _build/venv, the environment of the tests that need a real C extension. Where there is no
# wheel for the chosen Python, those tests find none and skip.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

"$root/scripts/venv.sh" "$root/_build/venv" "$root/scripts/requirements-test.txt" ||
    say "no NumPy for this Python: the tests that need it will be skipped."
