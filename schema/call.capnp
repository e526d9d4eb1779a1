@0xf20c35fdace31152;
# One message a call, between peers of this project: what their bootstraps and their objects offer beside
# workerd's interfaces.
#
# A caller asks a peer once, with `ping`. One that answers "unimplemented" is called as workerd is: an event, a
# session, a call.

using BindingSpan = import "/binding_span.capnp";
using JsRpc = import "/js_rpc.capnp";

interface CallTarget @0xea6efdc3bf78d135 {
  # Something that can be called: a binding behind a bootstrap, or an object that came in a value.
  #
  # Whoever offers it on its bootstrap offers it on every object that it puts into arguments or results of
  # `invoke`.

  invoke @0 Request -> Response;

  ping @1 (pusher :JsRpc.ExternalPusher) -> ();
  # Answers at once. Says that the peer is there, and that it knows this interface. `pusher` takes the streams
  # in the results of the connection's calls; null: results can have none.

  struct Request {
    binding @0 :Text;
    # On the bootstrap of a connection that names no binding: whose method it is. Elsewhere it is not looked at.

    params @1 :JsRpc.JsRpcTarget.CallParams;

    timeLeft @2 :UInt64;
    # Milliseconds after which the caller gives up; the callee answers before. 0: nobody said.

    wantsPipeline @3 :Bool;
    # The result's `callPipeline` is called before the result is there. Unless this is set, it may be null.

    observer @4 :EnrichmentObserver;
    # Hears enrichment as it is said. Null: nobody looks.
  }

  struct Response {
    returned @0 :JsRpc.JsRpcTarget.CallResults;
    # What the call returned, unless it failed. Its `bindingSpanEnrichment` is not used.

    failure @1 :Failure;
    # Why it failed. Null: it returned.

    enrichment @2 :BindingSpan.BindingSpanEnrichment;
    # What the callee says about the caller's span, however the call ended. Null: nothing.

    session @3 :CallSession;
    # Set when the result holds objects: dropped when none of them is held any more. Of an object's call, when the
    # result has streams: only to be observed, and need not be held.
  }
}

interface CallSession @0x83c2f15b697049dc {
  # A call whose result is held, or whose streams go on: the callee may go on saying what it was.

  observe @0 (observer :EnrichmentObserver) -> ();
  # The observer hears what is said from the return on, and is dropped after the last of it, when nothing of
  # the result is held, and its streams have ended. Once a session, and not for a call that had an observer from the start: that one goes on.
}

interface EnrichmentObserver @0x875e8f1bbbce5aee {
  enriched @0 (enrichment :BindingSpan.BindingSpanEnrichment, returned :Bool) -> ();
  # What was said since the last time. The callee waits for the answer before it says more, and what it says
  # meanwhile is merged, so the answer's delay bounds how often.
  #
  # `returned`: the call's answer was filled before some of it was said. Who has not read the answer yet keeps this
  # until then: it replaces what the answer says.
}

struct Failure {
  kind @0 :Kind;

  error @1 :JsRpc.JsValue;
  # What the application threw, an error as a rule. Only with the kind `application`.

  message @2 :Text;
  # What happened, for people. Not with the kind `application`.

  limit @3 :UInt64;
  # With the kind `deadline`: the milliseconds that had passed. 0: those that the caller gave.

  enum Kind {
    application @0;
    # The method threw.

    overloaded @1;
    # Too much to do, or shutting down. The call did not run.

    deadline @2;
    # The time was over. It may have run.

    cancelled @3;
    # Given up on the way. It may have run.

    unavailable @4;
    # What would serve it cannot be reached. The call did not run.

    unimplemented @5;
    # The peer on the way does not know how. The call did not run.

    refused @6;
    # No such binding, arguments that cannot be read, or not allowed. The call did not run.

    protocol @7;
    # A peer on the way broke the protocol. It may have run.

    disconnected @8;
    # A connection on the way was lost. It may have run.

    result @9;
    # It ran, and what it returned cannot be passed on.
  }
}

interface WatchedStream @0xdffcc6871896f191 extends(JsRpc.ByteStream) {
  # What our own peers give to write into.

  cancelled @0 () -> ();
  # Answers when nobody reads the stream any more, so that its source need not produce the next byte to find out.
}

interface NamedBindings @0xe3be15ccbde5bf14 extends(JsRpc.WorkerdDebugPort, CallTarget, JsRpc.ExternalPusher) {
  # The bootstrap of a connection that names no binding. Streams in the arguments of its calls are pushed to it.
}

interface OneBinding @0x96e402eb6997884c extends(JsRpc.WorkerdBootstrap, CallTarget, JsRpc.ExternalPusher) {
  # The bootstrap of a connection that named its binding with CONNECT.
}

interface CallableObject @0xc8a61d3c566f514c extends(JsRpc.JsRpcTarget, CallTarget) {
  # An object in a value.
}
