#!/bin/sh
# Compiles the schema into schema/inventory.bin, which build.rs turns into Rust, so that building this
# project needs no Cap'n Proto compiler. Written with capnp 0.9.2 (Debian's package `capnproto`).
# With --check it writes nothing and fails if the committed file is stale.
set -eu
cd "$(dirname "$0")"
imports="--import-path=../../../schema" # +
compile() { capnp compile --no-standard-import ${imports-} -o- inventory.capnp; }
case "${1-}" in
  "") compile > inventory.bin ;;
  --check) compile | cmp -s - inventory.bin || { echo "schema/inventory.bin is stale: run schema/compile.sh" >&2; exit 1; } ;;
  *) echo "usage: schema/compile.sh [--check]" >&2; exit 2 ;;
esac
