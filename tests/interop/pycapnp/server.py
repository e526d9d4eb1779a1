"""A callee in Python that names and tags the span of whoever calls it.

Prints `listening on HOST:PORT` and serves until it is killed.
"""

import asyncio

import capnp

from schema import inventory

ATTRIBUTES = [
    ("language", "string", "python"),
    ("shelf", "int64", -(2**63)),
    ("weight", "float64", 1.5),
    ("fragile", "bool", True),
    ("tags", "string", ["new", "", "schön"]),
    ("sizes", "float64", [1.0, 2.5]),
]


def enrich(enrichment, name, attributes):
    """Fills a BindingSpanEnrichment; a value's type is the name of its union member, also of each in a list."""
    enrichment.name = name
    entries = enrichment.init("attributes", len(attributes))
    for entry, (key, kind, value) in zip(entries, attributes):
        entry.name = key
        values = value if isinstance(value, list) else [value]
        for tag, element in zip(entry.init("value", len(values)), values):
            setattr(tag, kind, element)


class Inventory(inventory.Inventory.Server):
    async def lookup(self, sku, _context, **_):
        results = _context.results
        results.count = len(sku)
        if sku == "nut":
            enrich(results.init("enrichment"), "python.lookup", ATTRIBUTES)
        elif sku == "careless":  # a name, a key and a list that no caller lets through
            attributes = [
                ("k" * 257, "bool", True),
                ("long", "int64", list(range(65))),
                ("kept", "bool", True),
            ]
            enrich(results.init("enrichment"), "n" * 257, attributes)


async def serve(stream):
    await capnp.TwoPartyServer(stream, bootstrap=Inventory()).on_disconnect()


async def main():
    server = await capnp.AsyncIoStream.create_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(capnp.run(main()))
