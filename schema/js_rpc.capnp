@0x83e81a7f49e3d60a;
# JavaScript RPC as workerd speaks it: values, calls, results, sessions, and how a session starts.
#
# Only the ids of interfaces and the numbers of fields and methods travel on the wire, so those are
# workerd's and everything else is ours. `bindingSpanEnrichment` and `callerSpan` are the two fields
# that workerd has not assigned in a release; COMPATIBILITY.md says what follows from that.

using BindingSpan = import "/binding_span.capnp";
using TailStream = import "/tail_stream.capnp";

struct JsValue {
  # One JavaScript value.

  v8Serialized @0 :Data;
  # The value in V8's serialization format, with host objects for what the format lacks.

  externals @1 :List(External);
  # What the bytes refer to and cannot contain. The n-th host object that takes an external takes
  # the n-th entry.

  struct External {
    union {
      invalid @0 :Void;
      # The default, so that an entry nobody filled in is recognised. Always an error.

      rpcTarget :group {
        # A stub: an object on which the receiver may call.

        cap @1 :JsRpcTarget;
      }

      writableStream :group {
        byteStream @2 :ByteStream;
        # Where the receiver writes to.

        encoding @3 :UInt16;
      }

      readableStream :group {
        encoding @4 :UInt16;
        expectedLength :union {
          unknown @5 :Void;
          known @6 :UInt64;
        }
        stream @10 :ExternalPusher.ByteSource;
        # What the receiver's `pushByteStream` gave.
      }

      obsolete7 @7 :Void;
      subrequestChannelToken @8 :Data;
      actorClassChannelToken @9 :Data;
      abortSignal @11 :Capability;
    }
  }
}

interface ExternalPusher @0xee2eb0d2e1aad430 {
  # Pushes streams and the like to the receiver of a value, ahead of the value that refers to them: the
  # bytes need not wait until the receiver asks for them.

  pushByteStream @0 (lengthPlusOne :UInt64) -> (source :ByteSource, sink :ByteStream);
  # A stream at the receiver: its bytes are written to `sink`, and `source` stands for it in an external.
  # `lengthPlusOne` is its length and one, or 0 if that is not known.

  interface ByteSource {
    # Nothing to call: whoever made it knows what it stands for.
  }

  pushAbortSignal @1 () -> (signal :Capability, trigger :Capability);
  # Declared for its place. We neither serve nor use it.
}

interface ByteStream @0xd2e7d8a0dc0a9766 {
  # Takes the bytes of a stream, in the layout of Cap'n Proto's byte-stream.capnp. Dropped without `end`, the
  # stream is broken.

  write @0 (bytes :Data) -> ();
  # Returns when there is room for more, so the sender bounds what has not returned. Fails when nobody
  # reads any more.

  end @1 () -> ();

  getSubstream @2 (callback :SubstreamCallback, limit :UInt64 = 0xffffffffffffffff)
      -> (substream :ByteStream);
  # Takes bytes from somewhere else for a while: those that are written to `substream`, until `limit` of them
  # came or it ended. A sender passes a stream on by this without having its bytes pass by itself.

  interface SubstreamCallback @0xb23c0a13cf65c36e {
    ended @0 (byteCount :UInt64) -> ();
    # `end` was called on the substream. The stream that it is of goes on.

    reachedLimit @1 () -> (next :ByteStream);
    # What is written to the substream from now on goes to `next`.
  }
}

interface JsRpcTarget @0xa1a96525142a9d98 extends(ExternalPusher) {
  # Something that can be called: the top level of a session, or a stub.

  call @0 CallParams -> CallResults;

  struct CallParams {
    union {
      methodName @0 :Text;
      # A path of one element.

      methodPath @2 :List(Text);
      # The properties to follow from the target to the method. Empty: call the target itself.
    }

    operation :union {
      callWithArgs @1 :JsValue;
      # An array: the arguments. Null for a call without any; an empty JsValue is an error.

      getProperty @3 :Void;
      # Read the property at the path.
    }

    resultsStreamHandler :union {
      obsolete4 @4 :Capability;
      externalPusher @5 :ExternalPusher;
    }

    callerSpan @6 :BindingSpan.SpanContext;
    # The caller's span for this call, or null.
  }

  struct CallResults {
    result @0 :JsValue;

    callPipeline @1 :JsRpcTarget;
    # The result as a target, for calls that do not wait for it. May be null.

    hasDisposer @2 :Bool;

    obsolete3 @3 :Capability;

    bindingSpanEnrichment @4 :BindingSpan.BindingSpanEnrichment;
    # What the callee says about the caller's span. Null: nothing.
  }
}

interface JsRpcSession @0xbbfec607777f1620 {
  # A session is over when this capability, always a promise, resolves. Dropping it cancels the
  # session.
}

interface EventDispatcher @0xf20697475ec1752d {
  # Takes exactly one event. Only the two that we use are described.

  unused0 @0 ();
  unused1 @1 ();
  unused2 @2 ();
  unused3 @3 ();
  unused4 @4 ();
  unused5 @5 ();
  unused6 @6 ();
  unused7 @7 ();
  unused8 @8 ();

  jsRpcSession @9 () -> (topLevel :JsRpcTarget, session :JsRpcSession);
  # `topLevel` takes one call, which should be pipelined onto this one. `session` resolves when
  # the top level and every stub that came through it have been dropped.

  tailStreamSession @10 () -> (topLevel :TailStream.TailStreamTarget, outcome :TailStream.Outcome.Kind);
}

interface WorkerdBootstrap @0x878048cda334ade3 {
  # One entrypoint of one service.

  startEvent @0 (cfBlobJson :Text, fromPersistentStub :Bool) -> (dispatcher :EventDispatcher);
}

interface WorkerdDebugPort @0xea5b0b487aea7327 {
  # What a connection without a CONNECT line bootstraps to: every service by name.

  getEntrypoint @0 (service :Text, entrypoint :Text, props :AnyPointer)
      -> (entrypoint :WorkerdBootstrap);
}
