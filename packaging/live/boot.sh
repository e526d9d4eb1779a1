#!/usr/bin/env bash
# Boots a Debian with systemd in a container, installs the programs and units as docs/operating.md says, and runs
# checks.sh in it. Not a part of CI: it takes root, and minutes to fetch a Debian the first time.
#
#   sudo packaging/live/boot.sh [FOLDER OF THE PROGRAMS, target/debug]
#
# Needs systemd-nspawn (Debian: systemd-container) and debootstrap. The programs must have been built for a libc that
# is no newer than that of this machine's Debian release. ROOT names the folder of the Debian, which is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=${1:-target/debug}
root=${ROOT:-target/live-root}
release=${RELEASE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}

if [ ! -e "$root/etc/os-release" ]; then
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$release" "$root"
fi
# What the last run left.
rm -rf "$root"/{etc/binding-span,var/lib/binding-span*,var/log/journal}
rm -f "$root"/etc/systemd/system/{,*.wants/}binding-span-* "$root"/usr/lib/sysusers.d/binding-span.conf
install -D -t "$root/usr/local/bin" "$programs/callee" "$programs/caller" "$programs/bspan"
rm -rf "$root/root/packaging" && cp -r packaging "$root/root/packaging"

# Neither a bus nor a unit is needed on this side, which may not run systemd itself.
systemd-nspawn --quiet --directory="$root" --boot --private-network --register=no --keep-unit \
  --console=pipe </dev/null >"$root/../live-boot.log" 2>&1 &
nspawn=$!
trap 'kill -TERM $nspawn 2>/dev/null; wait $nspawn 2>/dev/null || true' EXIT

init=
for _ in $(seq 100); do
  init=$(pgrep -P "$nspawn" || true)
  [ -n "$init" ] && [ -S "/proc/$init/root/run/systemd/private" ] && break
  sleep 0.1
done
[ -n "$init" ] || { cat "$root/../live-boot.log" >&2; exit 1; }

inside() {
  nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup -- \
    env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root TERM=dumb "$@"
}
inside systemctl is-system-running --wait >/dev/null || true
inside bash /root/packaging/live/checks.sh
