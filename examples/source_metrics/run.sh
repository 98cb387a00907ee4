#!/bin/sh
# Compiles and runs the example. The application must be built: `make demo` and `rebar3 compile` do that.
set -eu

here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/examples/source_metrics

if [ ! -d "$libraries/erlang_python/ebin" ]; then
    echo "source_metrics: the application is not built; run 'rebar3 compile' in $root first" >&2
    exit 1
fi

mkdir -p "$build"
erlc -Wall -Werror -o "$build" "$here/source_metrics.erl"

if [ -t 1 ]; then
    set -- -source_metrics terminal
else
    set --
fi

# The report that a supervisor logs of the context which the example kills would stand in the middle of its output.
exec erl -noshell -noinput -pa "$build" -pa "$libraries"/*/ebin \
    -kernel logger_level critical "$@" -eval 'source_metrics:main().'
