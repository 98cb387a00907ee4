#!/bin/sh
# Compiles an example and runs its function main/0. The application must be built: `make demo` and `rebar3 compile` do
# that. An example with a requirements.txt gets a virtual environment, in the folder `venv` beside what is compiled.
#
#   run-example.sh NAME
set -eu

name=$1
root=$(cd "$(dirname "$0")/.." && pwd -P)
example=$root/examples/$name
libraries=$root/_build/${REBAR_PROFILE:-default}/lib
build=$root/_build/examples/$name

if [ ! -d "$libraries/erlang_python/ebin" ]; then
    echo "$name: the application is not built; run 'rebar3 compile' in $root first" >&2
    exit 1
fi

mkdir -p "$build/ebin" "$build/priv"
for source in "$example"/*.erl "$example"/src/*.erl; do
    [ ! -f "$source" ] || erlc -Wall -Werror -o "$build/ebin" "$source"
done
for application in "$example"/src/*.app.src; do
    [ ! -f "$application" ] || cp "$application" "$build/ebin/$name.app"
done
for file in "$example"/*.py "$example"/priv/*; do
    [ ! -f "$file" ] || cp "$file" "$build/priv/"
done
[ ! -f "$example/requirements.txt" ] || "$root/scripts/venv.sh" "$build/venv" "$example/requirements.txt"

exec erl -noshell -noinput -pa "$build/ebin" -pa "$libraries"/*/ebin \
    -kernel logger_level critical -eval "$name:main()."
