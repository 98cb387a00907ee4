#!/usr/bin/env bash
# Copies what a node needs of the Python that find-python.sh chooses: libpython and the standard library, for a release
# that runs where there is no such Python.
#
#   carry-python.sh DIRECTORY     (replaced if it is there)
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

dir=$1
python=$("$root/scripts/find-python.sh")
rm -rf "$dir"
mkdir -p "$dir/lib"

{
    read -r library
    read -r standard
    read -r dynamic
    read -r name
} < <("$python" -I -c '
import os, sysconfig
var = sysconfig.get_config_var
paths = sysconfig.get_paths()
print(os.path.join(var("LIBDIR"), var("INSTSONAME") or var("LDLIBRARY")))
print(paths["stdlib"])
print(var("DESTSHARED"))
print("python%d.%d" % __import__("sys").version_info[:2])
')

cp -L "$library" "$dir/lib/"
# What is installed beside it is not part of it, and nobody runs its tests or its editor there.
tar --create --directory "$standard" --exclude ./site-packages --exclude ./dist-packages --exclude ./test \
    --exclude ./idlelib --exclude ./tkinter --exclude ./turtledemo --exclude ./ensurepip --exclude './config-*' \
    --exclude '*.opt-?.pyc' . | { mkdir -p "$dir/lib/$name" && tar --extract --directory "$dir/lib/$name"; }
[ -d "$dir/lib/$name/lib-dynload" ] || cp -RL "$dynamic" "$dir/lib/$name/lib-dynload"
say "copied $name to $dir"
