#!/usr/bin/env bash
# Prints the directory of a root of another Debian release, and builds it if it is not in the cache.
# Exit code 77 and a reason: this machine cannot.
#
#   matrix-root.sh trixie|forky
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

release=$1
case $release in
    trixie) pythons=(3.13) ;;
    forky)  pythons=(3.14 3.15) ;;
esac
packages=(
    ca-certificates gcc g++ libc6-dev make git procps elixir rebar3
    erlang-{base,dev,crypto,common-test,eunit,tools,inets,ssl,public-key,asn1,xmerl}
    erlang-{runtime-tools,syntax-tools,parsetools,proper,mnesia}
)
for minor in "${pythons[@]}"; do
    packages+=("python$minor" "python$minor-dev" "libpython$minor" "python$minor-venv")
done

skip() {
    echo "$*" >&2
    exit 77
}

[ "$(id -u)" = 0 ] || skip "a root of $release needs to be built as root"
unshare --mount true 2>/dev/null || skip "mounts are forbidden here"
grep -q '^ID=debian$' /etc/os-release 2>/dev/null || skip "a root of $release needs a Debian mirror"
command -v rustup >/dev/null || skip "a root of $release needs a Rust that rustup installed"

hash=$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c 1-12)
roots=${ERLANG_PYTHON_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/erlang_python}/roots
dir=$roots/$release-$hash
if [ -d "$dir" ]; then
    echo "$dir"
    exit
fi

if ! command -v mmdebstrap >/dev/null; then
    say "installing mmdebstrap" >&2
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends mmdebstrap; } >&2 || skip "mmdebstrap cannot be installed"
fi
# The mirror that this machine itself uses.
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
    awk '$1 !~ /-/ && !seen++ { print $2 }')
[ -n "$mirror" ] || skip "apt has no mirror configured"

say "building a root of $release in $dir" >&2
mkdir -p "$roots"
partial=$(mktemp -d "$roots/.partial-XXXXXX")
trap 'rm -rf "$partial"' EXIT
# A mirror's index of a testing release may be older than its validity.
mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=apt \
    --include="$(IFS=,; echo "${packages[*]}")" "$release" "$partial/root" "$mirror" >&2
mv "$partial/root" "$dir"
echo "$dir"
