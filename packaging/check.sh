#!/usr/bin/env bash
# Checks the units and docker-compose.yml with the tools that read them. That their command lines can be run by
# our programs is tested in tests/packaging.rs.
#
# Needs systemd-analyze (Debian: systemd) and docker-compose (Debian: docker-compose).
set -euo pipefail
cd "$(dirname "$0")/.."

units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
for unit in packaging/systemd/binding-span-*; do
  # The programs need not be installed here.
  sed -E 's,/usr/local/bin/(callee|caller),/bin/true,' "$unit" > "$units/${unit##*/}"
done
# It says what is unknown or cannot be run, and exits with 0 for some of it: nothing may be said.
said=$(systemd-analyze verify --man=no "$units"/*.service "$units"/*.socket 2>&1) || {
  printf '%s\n' "$said" >&2
  exit 1
}
if [ -n "$said" ]; then
  printf '%s\n' "$said" >&2
  exit 1
fi
docker-compose -f docker-compose.yml config -q
echo "units and docker-compose.yml can be used"
