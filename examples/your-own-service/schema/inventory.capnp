@0x99a44f4f2ff3cfc1;
# A warehouse that says how many pieces of something it has.

using import "/binding_span.capnp".BindingSpanEnrichment; # +

interface Inventory {
  lookup @0 (sku :Text) -> (count :UInt32, enrichment :BindingSpanEnrichment); # +
}
