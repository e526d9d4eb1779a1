"""A caller in Python that reads what the callee said about its span.

`client.py HOST:PORT SKU...` prints one line of JSON for each call:
`{"count": 41, "name": "..", "attributes": [[key, type, value or values], ..]}`; name and attributes are null
when the field was.
"""

import asyncio
import json
import sys

import capnp

from schema import inventory


def said(results):
    """What stands in the results' enrichment, if it is there."""
    if not results._has("enrichment"):
        return {"name": None, "attributes": None}
    enrichment = results.enrichment
    attributes = []
    for entry in enrichment.attributes:
        kinds = {str(value.which()) for value in entry.value}
        if len(kinds) != 1:  # none, or a list of several types
            continue
        (kind,) = kinds
        values = [getattr(value, kind) for value in entry.value]
        attributes.append([entry.name, kind, values if len(values) > 1 else values[0]])
    return {"name": enrichment.name, "attributes": attributes}


async def main(address, *skus):
    host, port = address.rsplit(":", 1)
    stream = await capnp.AsyncIoStream.create_connection(host, int(port))
    client = capnp.TwoPartyClient(stream)
    warehouse = client.bootstrap().cast_as(inventory.Inventory)
    for sku in skus:
        results = await warehouse.lookup(sku=sku)
        print(json.dumps({"count": results.count, **said(results)}))


asyncio.run(capnp.run(main(*sys.argv[1:])))
