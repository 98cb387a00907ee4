#!/usr/bin/env bash
# Builds the NIF for the Python that find-python.sh chooses and puts it into priv/. rebar3 runs this
# before it compiles the Erlang modules, also where the project is a dependency.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

build_library py_nif "$root/priv/py_nif.so"
