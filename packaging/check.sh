#!/usr/bin/env bash
# Checks what is deployed: units, with the programs in a folder, and docker-compose.yml.
#
#   packaging/check.sh target/debug
#
# Needs systemd-analyze (Debian: systemd) and docker-compose (Debian: docker-compose).
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(realpath "$1")

units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
for unit in packaging/systemd/binding-span-*; do
  sed "s|/usr/local/bin/|$programs/|" "$unit" > "$units/${unit##*/}"
done
# It says what is unknown or cannot be run, and exits with 0 for some of it: nothing may be said.
said=$(systemd-analyze verify --man=no --recursive-errors=no "$units"/*.service "$units"/*.socket 2>&1) || {
  printf '%s\n' "$said" >&2
  exit 1
}
if [ -n "$said" ]; then
  printf '%s\n' "$said" >&2
  exit 1
fi
docker-compose -f docker-compose.yml config -q
echo "units and docker-compose.yml can be used"
