#!/usr/bin/env bash
# Runs the suites of a copy of the checkout on one pair of OTP and Python. Exit code 77, with the
# reason in the last line: this machine cannot.
#
#   matrix-pair.sh PAIR CACHE_DIRECTORY
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

pair=$1 cache=$2
otp=${pair%%-*} minor=${pair#*-}
work=$cache/work/$pair target=$cache/target/$pair wheels=$cache/wheels
mkdir -p "$target" "$wheels"

skip() {
    echo "$*"
    exit 77
}

unset PYTHON
here=$("$root/scripts/find-python.sh" "$minor" 2>/dev/null || true)
if [ -n "$here" ] && [ "$(otp_release)" = "$otp" ]; then
    "$root/scripts/copy-checkout.sh" "$work"
    PYTHON=$here CARGO_TARGET_DIR=$target exec "$work/scripts/run-checks.sh" suites
fi

case $pair in
    27-3.13)         release=trixie ;;
    29-3.14|29-3.15) release=forky ;;
    *) skip "this machine has no OTP $otp with Python $minor" ;;
esac
root_dir=$("$root/scripts/matrix-root.sh" "$release")
"$root/scripts/copy-checkout.sh" "$work"
# The root gets no network: what is needed is fetched before.
cargo fetch --quiet --locked --manifest-path "$work/Cargo.toml"
"$("$root/scripts/find-python.sh")" -m pip download --quiet --disable-pip-version-check \
    --dest "$wheels" --only-binary :all: --python-version "$minor" \
    -r "$root/scripts/requirements-test.txt" || true
for requirements in "$root"/examples/*/requirements.txt "$root"/examples/*/priv/requirements.txt; do
    "$("$root/scripts/find-python.sh")" -m pip download --quiet --disable-pip-version-check \
        --dest "$wheels" --only-binary :all: --python-version "$minor" -r "$requirements"
done
exec "$root/scripts/in-root.sh" "$root_dir" "$work" "$target" "$wheels" scripts/matrix-inside.sh "$otp" "$minor"
