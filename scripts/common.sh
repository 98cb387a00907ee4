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

# Builds a cdylib of the workspace for the Python that find-python.sh chooses, and installs it.
#
#   build_library PACKAGE FILE
build_library() {
    local package=$1 installed=$2 target=${CARGO_TARGET_DIR:-$root/target} built
    command -v cargo >/dev/null ||
        die "cargo is not installed; install rustup, then run \`rustup toolchain install stable\`."
    PYO3_PYTHON=$("$root/scripts/find-python.sh")
    export PYO3_PYTHON
    say "building $package for $PYO3_PYTHON ($("$PYO3_PYTHON" -E -S --version))"

    cargo build --release --locked --package "$package" \
        --manifest-path "$root/Cargo.toml" --target-dir "$target"

    case $(uname -s) in
        Darwin) built=$target/release/lib$package.dylib ;;
        *)      built=$target/release/lib$package.so ;;
    esac
    # A running node may have the old library mapped: replace the file, never write into it.
    if ! cmp -s "$built" "$installed"; then
        mkdir -p "$(dirname "$installed")"
        cp "$built" "$installed.$$"
        mv -f "$installed.$$" "$installed"
    fi
}
