#!/usr/bin/env bash
# Runs CPython's own tests of asyncio in a context, with the standard library's loop and with ours, and compares. Or
# others of its tests, without Erlang and in a context with a policy. Exit code 77: they cannot be run here.
#
#   conformance.sh [--OPTION VALUE]... [test_MODULE[.CLASS[.TEST]]]...
#
#   --loops CONTROL,TESTED…  stock, erlang, context, or MODULE:CLASS (default: stock,erlang,context); context is the
#                            loop of the context itself, for the tests that leave making a loop to unittest
#                            process,default: without Erlang, and in a context with the default policy
#   --package PACKAGE        of the tests (default: test.test_asyncio)
#   --exceptions FILE        tests that may or must differ (default: test/conformance/exceptions.eterm)
#   --mode owngil|worker     of the context (default: owngil)
#   --limit SECONDS          of each test, after which it counts as one that hangs (default: 60)
#   --jobs N                 nodes that run at the same time (default: one for each core, at most 4)
#   --retries N              how often a test is tried again whose outcomes differ (default: 2)
#   --memory MiB             address space of each node (default: 6144)
#
# _build/conformance/log.txt tells all about the tests that failed.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

cd "$root"
PYTHON=$(scripts/find-python.sh)
export PYTHON
if ! "$PYTHON" -c 'import test.test_asyncio' 2>/dev/null; then
    echo "$PYTHON has no test.test_asyncio (on Debian: the package libpython3.x-testsuite)"
    exit 77
fi
rebar3 compile
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/conformance
mkdir -p "$build"
erlc -Wall -Werror +warn_missing_spec -o "$build" test/conformance/*.erl

exec erl -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
    -eval 'conformance:main().' -extra "$root/test/conformance" --log "$build/log.txt" "$@"
