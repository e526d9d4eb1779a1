"""The schema files that the Rust side is made of, loaded as they are."""

from pathlib import Path

import capnp

ROOT = Path(__file__).resolve().parents[3]

# The import of "/binding_span.capnp" is found in the folder given here. Do not load that file by
# itself as well: it would be a second file of the same id to this parser.
inventory = capnp.load(
    str(ROOT / "examples/your-own-service/schema/inventory.capnp"),
    imports=[str(ROOT / "schema")],
)
