#!/usr/bin/env bash
# Copies the checkout's files, without what git ignores, into a new git repository with one commit.
# Times are kept, so that cargo rebuilds only what changed.
#
#   copy-checkout.sh DIRECTORY     (replaced if it is there)
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

rm -rf "$1"
mkdir -p "$1"
copy=$(cd "$1" && pwd -P)
cd "$root"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        # A deleted file stays listed until the deletion is committed.
        if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
    done |
    tar --create --null --no-recursion --files-from - |
    tar --extract --directory "$copy"

cd "$copy"
git init --quiet --initial-branch main
git add --all
git -c user.name=copy -c user.email=copy@localhost -c commit.gpgsign=false \
    commit --quiet --no-verify --message "copy of the checkout"
