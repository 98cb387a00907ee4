#!/usr/bin/env bash
# Builds the NIF for the Python that find-python.sh chooses and puts it into priv/. rebar3 runs this
# before it compiles the Erlang modules, also where the project is a dependency.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

command -v cargo >/dev/null ||
    die "cargo is not installed; install rustup, then run \`rustup toolchain install stable\`."
PYO3_PYTHON=$("$root/scripts/find-python.sh")
export PYO3_PYTHON
say "building the NIF for $PYO3_PYTHON ($("$PYO3_PYTHON" -E -S --version))"

target=${CARGO_TARGET_DIR:-$root/target}
cargo build --release --locked --package py_nif \
    --manifest-path "$root/Cargo.toml" --target-dir "$target"

case $(uname -s) in
    Darwin) built=$target/release/libpy_nif.dylib ;;
    *)      built=$target/release/libpy_nif.so ;;
esac
# A running node may have the old library mapped: replace the file, never write into it.
installed=$root/priv/py_nif.so
if ! cmp -s "$built" "$installed"; then
    mkdir -p "$root/priv"
    cp "$built" "$installed.$$"
    mv -f "$installed.$$" "$installed"
fi
