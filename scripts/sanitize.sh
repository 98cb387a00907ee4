#!/usr/bin/env bash
# The tests of py_core under the thread sanitizer, then the core suites, or those named, with the native library under
# the address sanitizer: sanitize.sh [SUITE...], such as call. See docs/internals/sanitizers.md.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

suites=("$@")
[ $# -gt 0 ] || suites=(call conversion opaque callback_answers cancel tasks reactor overload hostile_values \
    lifecycle upgrade interrupt sandbox)
suites=("${suites[@]/%/_SUITE.erl}")

cd "$root"
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$root/target}/sanitize

# The compiler of the stable release has the instrumentation, but takes the flag only when it is told to. A target is
# named so that build scripts and macros, which run inside of the compiler, are not instrumented.
instrumented() {
    local flags=$1
    shift
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" cargo "$@" --locked --target "$host"
}

say "py_core under the thread sanitizer"
TSAN_OPTIONS="suppressions=$root/scripts/tsan-suppressions.txt" \
    instrumented "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
    test --quiet --package py_core --lib --target-dir "$target-thread"

# GCC's runtime and the one that rustc instruments for have the same interface, and this one can be preloaded.
runtime=$(gcc -print-file-name=libasan.so)
runtime=$(readlink -f "$runtime")
[ -f "$runtime" ] || die "libasan is not installed; it comes with gcc."

rebar3 as test compile
lib=$root/_build/sanitize/lib/erlang_python
mkdir -p "$lib/priv"
cp -rLT _build/test/lib/erlang_python/ebin "$lib/ebin"
mkdir -p "$lib/test"
# Not those that rebar3 has compiled, which call its own hooks.
erlc -I include -I src -o "$lib/test" test/support/*.erl "${suites[@]/#/test/}"
cp -rLT priv "$lib/priv"

PYO3_PYTHON=$("$root/scripts/find-python.sh")
export PYO3_PYTHON
instrumented "-Zsanitizer=address -Zexternal-clangrt -Cforce-frame-pointers=yes" \
    build --release --package py_nif --target-dir "$target"
rm -f "$lib/priv/py_nif.so"
cp "$target/$host/release/libpy_nif.so" "$lib/priv/py_nif.so"

logs=$root/_build/sanitize/logs
rm -rf "$logs"
mkdir -p "$logs"
specs=$(printf '%s,' "${suites[@]%.erl}")
say "${specs%,} under the address sanitizer, $runtime"
# Leaks are not looked for: CPython and the emulator end without giving their memory back. The emulator starts as many
# programs of its own, which are not ours to check, hence no report by those ends the run.
set +e
ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0:handle_segv=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=0:log_path=$logs/asan" \
    LD_PRELOAD=$runtime \
    erl -noinput -pa "$lib/ebin" "$lib/test" -eval "
        Suites = [list_to_atom(S) || S <- string:lexemes(\"$specs\", \",\")],
        {Ok, Failed, Skipped} = ct:run_test([
            {dir, \"$lib/test\"}, {suite, Suites}, {logdir, \"$logs\"}, {auto_compile, false},
            {multiply_timetraps, 5}, {abort_if_missing_suites, true}
        ]),
        io:format(\"~p passed, ~p failed, ~p skipped~n\", [Ok, Failed, Skipped]),
        halt(min(Failed, 1))."
status=$?
set -e
if compgen -G "$logs/asan.*" >/dev/null; then
    cat "$logs"/asan.*
    die "the sanitizer has found something"
fi
[ $status -eq 0 ] || die "the run ended with status $status"
