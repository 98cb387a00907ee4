#!/usr/bin/env bash
# Compares this library with other ways to run Python from Erlang, and with the executors of Python itself.
#
#   bench/compare/run.sh [--page] [--quick] [--only ROW]... [--adapter FILE [--path FOLDER]...]...
#   bench/compare/run.sh [--page] --from RESULTS.json
#
#   --quick      few and short rounds
#   --only       these rows and no others; compare_rows.erl has their names
#   --adapter    one more row: a module with the behaviour compare_adapter, and folders for the code path of its node
#   --from       measures nothing, but makes text and pictures of the results of an earlier run
#   --page       writes them into docs/comparison.md and docs/assets, too
#
# Results are in _build/compare. The figures depend on the machine and on what else it does, so no figure makes the exit
# code fail.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"

folder=$root/bench/compare
build=$root/_build/compare
page='' results=$build/results.json from='' arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --page) page=$root/docs/comparison.md ;;
        --from) from=$2 results=$(realpath "$2"); shift ;;
        *)      arguments+=("$1") ;;
    esac
    shift
done

python=$("$root/scripts/find-python.sh")

# The headers of the Python, and its library.
about_library='import os, sysconfig
folder, inner, name = (sysconfig.get_config_var(key) or "" for key in ("LIBDIR", "MULTIARCH", "INSTSONAME"))
found = [path for path in (os.path.join(folder, inner, name), os.path.join(folder, name)) if os.path.isfile(path)]
print(sysconfig.get_path("include"), *found[:1], sep="\n")'

# There is a row less where it cannot be built.
build_embedded() {
    local found
    mapfile -t found < <("$python" -c "$about_library")
    rm -f "$build/embedded"
    if [ ${#found[@]} != 2 ] || ! cc -O2 -I"${found[0]}" -o "$build/embedded" "$folder/embedded.c" \
        "${found[1]}" -Wl,-rpath,"$(dirname "${found[1]}")"; then
        say "no program could be linked with libpython: one floor less"
    fi
}

mkdir -p "$build/ebin"
if [ -z "$from" ]; then
    (cd "$root" && rebar3 compile)
    library=$root/_build/${REBAR_PROFILE:-default}/lib/erlang_python/ebin
    erlc -Wall -Werror +warn_missing_spec -o "$build/ebin" "$folder/compare_adapter.erl"
    erlc -Wall -Werror +warn_missing_spec -pa "$build/ebin" -o "$build/ebin" "$folder"/*.erl
    build_embedded
    erl -noshell -noinput -pa "$build/ebin" -eval 'compare:main().' \
        -extra "$folder" "$build/ebin" "$library" "$python" "$results" "${arguments[@]}"
fi

pictures=()
if "$root/scripts/venv.sh" "$build/plots" "$folder/requirements.txt" >&2; then
    drawn=$("$build/plots/bin/python" "$folder/plot.py" "$results" "$build/pictures")
    mapfile -t pictures <<<"$drawn"
else
    rm -rf "$build/plots"
    say "matplotlib could not be installed: there are no pictures"
fi

if [ -n "$page" ]; then
    mkdir -p "$root/docs/assets"
    rm -f "$root/docs/assets/"comparison-*.png
    [ ${#pictures[@]} = 0 ] || cp "${pictures[@]}" "$root/docs/assets/"
    "$python" "$folder/report.py" "$results" "$build/results.txt" "$page" "${pictures[@]}"
else
    "$python" "$folder/report.py" "$results" "$build/results.txt"
fi
cat "$build/results.txt"
say "written: $results, $build/results.txt${page:+, $page}"
