#!/usr/bin/env bash
# Prints the path of the Python to build for, or says in one sentence why there is none.
#
#   find-python.sh [MINOR...]     the versions wanted, best first (default: 3.14 3.15 3.13 3.12)
#
# $PYTHON, when set, is the only candidate.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

[ $# -gt 0 ] || set -- 3.14 3.15 3.13 3.12
wanted=("$@")

# Runs in the candidate, which may be of any age. Prints its own path, or what makes it unfit.
# shellcheck disable=SC2016
probe='
import os, platform, sys, sysconfig
def unfit(wanted):
    var = sysconfig.get_config_var
    version = "%d.%d" % sys.version_info[:2]
    if platform.python_implementation() != "CPython":
        return "is " + platform.python_implementation() + ", not CPython"
    if version not in wanted:
        return "is Python %s, not one of %s" % (platform.python_version(), ", ".join(wanted))
    if var("Py_GIL_DISABLED"):
        return "is a free-threaded build, and one with the GIL is needed"
    if not (var("Py_ENABLE_SHARED") or var("PYTHONFRAMEWORK")):
        return "has no shared libpython (it was built without --enable-shared)"
    library = os.path.join(var("PYTHONFRAMEWORKPREFIX") or var("LIBDIR"), var("LDLIBRARY"))
    if not os.path.exists(library):
        return "lacks the file %s (on Debian: apt-get install libpython%s-dev)" % (library, version)
reason = unfit(sys.argv[1:])
print(reason or "fit\n" + sys.executable)
'

# Prints the path of the Python that the command in $1 runs, or why it is unfit, and then fails.
fit() {
    local answer
    answer=$("$1" -E -S -c "$probe" "${wanted[@]}" 2>/dev/null) || answer="does not run"
    printf '%s\n' "${answer#fit$'\n'}"
    [[ $answer == fit$'\n'* ]]
}

if [ -n "${PYTHON:-}" ]; then
    if found=$(fit "$PYTHON"); then
        echo "$found"
        exit
    fi
    die "PYTHON=$PYTHON cannot be used: it $found."
fi

pyenv_root="${PYENV_ROOT:-$HOME/.pyenv}"

# Everything called $1 on PATH. A pyenv shim stands for the versions that pyenv has selected; asking
# pyenv for them once is much quicker than running shim after shim.
on_path() {
    local path version
    while read -r path; do
        if [[ $path == "$pyenv_root/shims/"* ]]; then
            selected=${selected:-$(pyenv version-name 2>/dev/null || echo system)}
            for version in ${selected//:/ }; do echo "$pyenv_root/versions/$version/bin/$1"; done
        else
            echo "$path"
        fi
    done < <(type -ap "$1")
}

candidates() {
    local minor dir selected=
    for minor in "${wanted[@]}"; do on_path "python$minor"; done
    on_path python3
    for dir in "$pyenv_root/versions" \
               "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python}"; do
        for minor in "${wanted[@]}"; do
            # Of several patch releases the newest; pyenv names them 3.14.1, uv cpython-3.14.1-….
            printf '%s\n' "$dir/$minor".*/bin/python3 "$dir/cpython-$minor".*/bin/python3 | sort -rV
        done
    done
}

while read -r candidate; do
    [ -x "$candidate" ] || continue
    if found=$(fit "$candidate"); then
        echo "$found"
        exit
    fi
done < <(candidates 2>/dev/null)

die "no Python ${wanted[*]} with a shared libpython is on PATH, in pyenv or in uv:" \
    "run \`uv python install ${wanted[0]}\`, or name one with PYTHON=/path/to/python3."
