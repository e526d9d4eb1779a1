@0xef5aa96125cb1f31;
# Tail events, the live record of spans, in the layout of workerd's streaming tail workers.

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
    # A name of "span.name" renames the span, as the enrichment proposal has it.

    return @9 :Return;
    diagnosticChannelEvent @10 :DiagnosticChannelEvent;
    exception @11 :Exception;
    log @12 :Log;
    streamDiagnostics @13 :StreamDiagnostics;
    spanUpdate @14 :SpanUpdate;
    # Captured from workerd 1.20261117.1; workerd of August 2026 does not know it.
  }
}

struct Onset {
  executionModel @0 :UInt16;
  # 0 is stateless, 1 durableObject, 2 workflow.

  scriptName @1 :Text;
  scriptVersion @2 :ScriptVersion;
  dispatchNamespace @3 :Text;
  scriptId @4 :Text;
  scriptTags @5 :List(Text);
  entryPoint @6 :Text;
  info @7 :Info;
  spanId @8 :UInt64;
  attributes @9 :List(BindingSpan.Attribute);
  preview @10 :Preview;
  durableObjectId @11 :Text;

  struct Info {
    union {
      fetch @0 :FetchInfo;
      jsRpc @1 :JsRpcInfo;
      scheduled @2 :ScheduledInfo;
      alarm @3 :AlarmInfo;
      queue @4 :QueueInfo;
      email @5 :EmailInfo;
      trace @6 :TraceInfo;
      hibernatableWebSocket @7 :HibernatableWebSocketInfo;
      custom @8 :CustomInfo;
      connect @9 :ConnectInfo;
    }
  }
}

struct ScriptVersion {
  idHigh @0 :UInt64;
  idLow @1 :UInt64;
  # A UUID, 0 if there is none.

  tag @2 :Text;
  message @3 :Text;
}

struct Preview {
  id @0 :Text;
  slug @1 :Text;
  name @2 :Text;
}

struct FetchInfo {
  method @0 :UInt16;
  # By its place in the list of HTTP methods of Cap'n Proto's HTTP over RPC; 0 is GET.

  url @1 :Text;
  cfJson @2 :Text;
  # JSON; empty if there is none.

  headers @3 :List(Header);

  struct Header {
    name @0 :Text;
    value @1 :Text;
  }
}

struct JsRpcInfo {
  methodName @0 :Text;
}

struct ScheduledInfo {
  scheduledTime @0 :Float64;
  # Milliseconds since the Unix epoch.

  cron @1 :Text;
}

struct AlarmInfo {
  scheduledTimeMs @0 :Int64;
}

struct QueueInfo {
  queueName @0 :Text;
  batchSize @1 :UInt32;
}

struct EmailInfo {
  mailFrom @0 :Text;
  rcptTo @1 :Text;
  rawSize @2 :UInt32;
}

struct TraceInfo {
  struct Item {
    scriptName @0 :Text;
  }

  traces @0 :List(Item);
}

struct HibernatableWebSocketInfo {
  type :union {
    message @0 :Void;
    close :group {
      code @1 :UInt16;
      wasClean @2 :Bool;
    }
    error @3 :Void;
  }
}

struct CustomInfo {}

struct ConnectInfo {}

struct SpanOpen {
  operationName @0 :Text;
  spanId @1 :UInt64;
  info :union {
    empty @2 :Void;
    custom @3 :List(BindingSpan.Attribute);
    fetch @4 :FetchInfo;
    jsRpc @5 :JsRpcInfo;
  }
}

struct SpanClose {
  outcome @0 :Outcome.Kind;
}

struct Return {
  info :union {
    empty @0 :Void;
    fetch @1 :FetchResponseInfo;
  }
}

struct FetchResponseInfo {
  statusCode @0 :UInt16;
}

struct SpanUpdate {
  union {
    name @0 :Text;
    # The span has a new name.

    status @1 :Status;
    # What its end will mean, whatever its outcome is.
  }

  struct Status {
    code @0 :UInt16;
    # 0 is unset, 1 ok, 2 error.

    message :union {
      none @1 :Void;
      some @2 :Text;
    }
  }
}

struct Log {
  timestampNs @0 :Int64;
  level @1 :UInt16;
  # 0 is debug, then info, log, warn, error.

  message @2 :Text;
  # The arguments as a JSON array, unless `truncated`.

  errorInfo @3 :List(ErrorSlot);
  # For each argument what it was if it was an error; absent if none was.

  truncated @4 :Bool;
  # The message is the beginning of a text that was too long.

  struct ErrorSlot {
    union {
      none @0 :Void;
      info @1 :ErrorInfo;
    }
  }

  struct ErrorInfo {
    name @0 :Text;
    message @1 :Text;
    stack @2 :Text;
  }
}

struct DiagnosticChannelEvent {
  timestampNs @0 :Int64;
  channel @1 :Text;
  message @2 :Data;
  # A JavaScript value, serialized by V8.
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
