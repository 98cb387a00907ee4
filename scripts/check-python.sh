#!/usr/bin/env bash
# Lints and type-checks the Python package. Exit code 77: there is nothing to check.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root/priv/python"
if [ -z "$(find . -name '*.py' -print -quit)" ]; then
    echo "no Python files in priv/python"
    exit 77
fi
bin=$root/_build/tools/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy" --strict .
