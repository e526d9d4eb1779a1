#!/bin/sh
# Compiles the schema into schema/compiled.bin, which build.rs turns into Rust: so a build needs no
# Cap'n Proto compiler. With --check it writes nothing and fails if the committed file is stale.
# Written with capnp 0.9.2 (Debian's package `capnproto`); the file records the compiler's version.
set -eu
cd "$(dirname "$0")"
command -v capnp >/dev/null || { echo "schema/compile.sh: no capnp compiler on PATH (Debian: apt-get install capnproto)" >&2; exit 1; }
compile() { capnp compile --no-standard-import --import-path=. -o- binding_span.capnp js_rpc.capnp tail_stream.capnp call.capnp; }
case "${1-}" in
  "") compile > compiled.bin ;;
  --check) compile | cmp -s - compiled.bin || { echo "schema/compiled.bin is stale: run schema/compile.sh and commit it" >&2; exit 1; } ;;
  *) echo "usage: schema/compile.sh [--check]" >&2; exit 2 ;;
esac
