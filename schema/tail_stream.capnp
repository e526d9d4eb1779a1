@0xef5aa96125cb1f31;
# Tail events, the live record of spans, in the layout of workerd's streaming tail workers.
#
# Members that our sinks neither write nor read are typed as AnyPointer, which keeps the layout.

using BindingSpan = import "/binding_span.capnp";

interface TailStreamTarget @0xf2a8b4b811f16ecf {
  # The receiver of one invocation's events.

  report @0 (events :List(TailEvent)) -> (stop :Bool);
  # The first report holds the onset and nothing else; the one that holds the outcome is the last.
  # `stop` asks for no more events.
}

struct TailEvent {
  spanContext @0 :BindingSpan.SpanContext;
  # For onset and spanOpen the parent's; for the others the span that the event is about.

  invocationId @1 :BindingSpan.TraceId;
  timestampNs @2 :Int64;
  # Since the Unix epoch.

  sequence @3 :UInt32;
  # From 0 within an invocation, without gaps.

  event :union {
    onset @4 :Onset;
    outcome @5 :Outcome;
    spanOpen @6 :SpanOpen;
    spanClose @7 :SpanClose;
    attribute @8 :List(BindingSpan.Attribute);
    # A name of "span.name" renames the span.

    return @9 :Return;
    diagnosticChannelEvent @10 :AnyPointer;
    exception @11 :Exception;
    log @12 :AnyPointer;
    streamDiagnostics @13 :StreamDiagnostics;
  }
}

struct Onset {
  executionModel @0 :UInt16;
  # 0 is stateless.

  scriptName @1 :Text;
  scriptVersion @2 :AnyPointer;
  dispatchNamespace @3 :Text;
  scriptId @4 :Text;
  scriptTags @5 :List(Text);
  entryPoint @6 :Text;
  info @7 :Info;
  spanId @8 :UInt64;
  attributes @9 :List(BindingSpan.Attribute);

  struct Info {
    union {
      fetch @0 :AnyPointer;
      jsRpc @1 :JsRpcInfo;
      scheduled @2 :AnyPointer;
      alarm @3 :AnyPointer;
      queue @4 :AnyPointer;
      email @5 :AnyPointer;
      trace @6 :AnyPointer;
      hibernatableWebSocket @7 :AnyPointer;
      custom @8 :CustomInfo;
      connect @9 :AnyPointer;
    }
  }
}

struct JsRpcInfo {
  methodName @0 :Text;
}

struct CustomInfo {}

struct SpanOpen {
  operationName @0 :Text;
  spanId @1 :UInt64;
  info :union {
    empty @2 :Void;
    custom @3 :List(BindingSpan.Attribute);
    fetch @4 :AnyPointer;
    jsRpc @5 :JsRpcInfo;
  }
}

struct SpanClose {
  outcome @0 :Outcome.Kind;
}

struct Return {
  info :union {
    empty @0 :Void;
    fetch @1 :AnyPointer;
  }
}

struct Exception {
  timestampNs @0 :Int64;
  name @1 :Text;
  message @2 :Text;
  stack @3 :Text;
}

struct StreamDiagnostics {
  diagnostic :union {
    undefined @0 :Void;
    droppedEvents @1 :DroppedEvents;
  }
}

struct DroppedEvents {
  count @0 :UInt32;
}

struct Outcome {
  outcome @0 :Kind;
  cpuTime @1 :UInt64;
  # Milliseconds.

  wallTime @2 :UInt64;
  # Milliseconds.

  enum Kind {
    unknown @0;
    ok @1;
    exception @2;
    exceededCpu @3;
    killSwitch @4;
    daemonDown @5;
    scriptNotFound @6;
    canceled @7;
    exceededMemory @8;
    loadShed @9;
    responseStreamDisconnected @10;
    internalError @11;
    exceededWallTime @12;
    aborted @13;
  }
}
