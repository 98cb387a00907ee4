#!/usr/bin/env bash
# Makes a virtual environment of the chosen Python that holds what a requirements file lists.
# Quick when it is there already.
#
#   venv.sh DIRECTORY REQUIREMENTS
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

dir=$1 requirements=$2
python=$("$root/scripts/find-python.sh")
stamp=$dir/.made-of
made_of=$(echo "$python"; "$python" -VV; cat "$requirements")

if [ -x "$dir/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_of" ]; then
    exit
fi
say "installing into $dir: $(paste -sd ' ' "$requirements")"
rm -rf "$dir"
"$python" -m venv "$dir"
# Only wheels: building NumPy from its sources takes longer than all the tests.
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements"
printf '%s\n' "$made_of" >"$stamp"
