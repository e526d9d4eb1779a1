@0xa75a1a7e409c953c;
# Binding span enrichment: how a callee names and tags its caller's span.
#
# Import this file into your own schema and put one optional field of type BindingSpanEnrichment
# into the results of the methods whose callers should see a better span. A null pointer means
# that the callee had nothing to say. Nothing here depends on JavaScript or on workerd, and the
# file declares no identifier of workerd's.

struct BindingSpanEnrichment {
  # What one call says about the caller's span for that call.

  name @0 :Text;
  # The new name of the caller's span, at most 256 bytes of UTF-8. Null or empty: keep the name.

  attributes @1 :List(Attribute);
  # Applied in order after the rename. A later attribute of the same name replaces an earlier one.
}

struct Attribute {
  name @0 :Text;
  # The key, 1 to 256 bytes of UTF-8.

  value @1 :List(TagValue);
  # One value, or several of one type: a list, of at most 64 elements. A list of a single element is that element.
  # A reader skips an attribute without a value; it drops, and counts, a list that is longer or of several types.
  # A reader that takes no lists takes the first element.
}

struct TagValue {
  # One scalar. A reader drops, and counts, a member that it does not know.

  union {
    string @0 :Text;
    # At most 128 KiB of UTF-8.

    bool @1 :Bool;
    int64 @2 :Int64;
    float64 @3 :Float64;
  }
}

struct SpanContext {
  # The identity of a span: what a caller sends so that the callee's spans become its children.

  traceId @0 :TraceId;

  info :union {
    empty @1 :Void;
    # A trace without a current span.

    spanId @2 :UInt64;
  }

  traceFlags @3 :TraceFlags;
}

struct TraceId {
  # The 128 bits of a W3C trace id. All zero: no trace.

  high @0 :UInt64;
  low @1 :UInt64;
}

struct TraceFlags {
  value :union {
    unset @0 :Void;
    # No sampling decision was made; the receiver's own sampler decides.

    set @1 :UInt8;
    # The W3C trace flags; bit 0 says "sampled".
  }
}
