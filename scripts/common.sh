# Sourced by the other scripts: the project's root, and words to the user.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export root

# rustup installs here, and a shell started before that does not know it.
command -v cargo >/dev/null || PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'erlang_python: %s\n' "$*"; }

die() {
    printf 'erlang_python: %s\n' "$*" >&2
    exit 1
}

# The OTP release on PATH, such as 27; nothing where there is none.
otp_release() {
    erl -noshell -eval 'io:put_chars(erlang:system_info(otp_release)), halt().' 2>/dev/null || true
}
