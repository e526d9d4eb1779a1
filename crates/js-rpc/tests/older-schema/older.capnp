@0xc21d6e09a3b7f548;
# JavaScript RPC as it was before binding span enrichment: no `callerSpan` in a call, no
# `bindingSpanEnrichment` in its results. What a peer is compiled from that never heard of either.

struct JsValue {
  v8Serialized @0 :Data;
  externals @1 :List(External);

  struct External {
    union {
      invalid @0 :Void;
      rpcTarget :group {
        cap @1 :JsRpcTarget;
      }
    }
  }
}

interface ExternalPusher @0xee2eb0d2e1aad430 {}

interface JsRpcTarget @0xa1a96525142a9d98 extends(ExternalPusher) {
  call @0 CallParams -> CallResults;

  struct CallParams {
    union {
      methodName @0 :Text;
      methodPath @2 :List(Text);
    }
    operation :union {
      callWithArgs @1 :JsValue;
      getProperty @3 :Void;
    }
    resultsStreamHandler :union {
      obsolete4 @4 :Capability;
      externalPusher @5 :ExternalPusher;
    }
  }

  struct CallResults {
    result @0 :JsValue;
    callPipeline @1 :JsRpcTarget;
    hasDisposer @2 :Bool;
    obsolete3 @3 :Capability;
  }
}

interface JsRpcSession @0xbbfec607777f1620 {}

interface EventDispatcher @0xf20697475ec1752d {
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
}

interface WorkerdBootstrap @0x878048cda334ade3 {
  startEvent @0 (cfBlobJson :Text, fromPersistentStub :Bool) -> (dispatcher :EventDispatcher);
}

interface WorkerdDebugPort @0xea5b0b487aea7327 {
  getEntrypoint @0 (service :Text, entrypoint :Text, props :AnyPointer)
      -> (entrypoint :WorkerdBootstrap);
}
