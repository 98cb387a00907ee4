#!/usr/bin/env bash
# Runs a command in a root, with this machine's Rust and a clean environment.
#
#   in-root.sh ROOT WORK TARGET WHEELS COMMAND...
#
# The mounts live in a namespace of their own: they and all processes go when the command ends,
# however it ends.
set -euo pipefail

if [ "${IN_ROOT_NAMESPACE:-}" != 1 ]; then
    IN_ROOT_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi

root_dir=$1 work=$2 target=$3 wheels=$4
shift 4

bind() {
    if [ -d "$1" ]; then mkdir -p "$root_dir$2"; else touch "$root_dir$2"; fi
    mount --bind "$1" "$root_dir$2"
}
mount --rbind /dev "$root_dir/dev"
mount -t proc proc "$root_dir/proc"
bind "${CARGO_HOME:-$HOME/.cargo}" /root/.cargo
bind "${RUSTUP_HOME:-$HOME/.rustup}" /root/.rustup
bind "$work" /srv/work
bind "$target" /srv/target
bind "$wheels" /srv/wheels
bind /etc/hosts /etc/hosts

cd "$root_dir"
exec chroot . env -i HOME=/root LANG=C.UTF-8 \
    PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CARGO_TARGET_DIR=/srv/target CARGO_NET_OFFLINE=true PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels \
    bash -c 'cd /srv/work && exec "$@"' run "$@"
