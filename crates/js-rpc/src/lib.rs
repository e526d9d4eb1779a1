//! JavaScript RPC over Cap'n Proto, as workerd speaks it, in which a callee names and tags its caller's
//! span.
//!
//! # A callee
//! Implement [`Service`]; serve it with [`Server`]. Say what the call really was with
//! [`Context::enrich`], or with [`enrich`] where no context is at hand.
//!
//! # A caller
//! [`Connection::connect`], then [`Binding::call`]. Each call has a span below the current `tracing`
//! span, opened as `jsRpcSession`, renamed and tagged by the callee, closed when the session ends.
//! [`Client`] is the same for applications of more than one thread.
//!
//! # Goals
//! - What workerd does over this wire works with workerd, and between any two of us.
//! - A call has exactly one span, and telemetry never changes its result.
//!
//! # Not here
//! Configuration and programs (`binding-span-daemons`), what spans look like to people
//! (`binding-span-tail`), values (`binding-span-js-value`), what enrichment is (`binding-span`).
//!
//! # Features
//! - `fetch` (default): listeners serve plain HTTP, as a Worker's `env.SVC.fetch()` sends it. Without it they say
//!   what they are instead.
//! - `opentelemetry` (default): ids are those of the OpenTelemetry layer of the current subscriber, if
//!   it has one, and enrichment reaches the spans that it exports.

mod accept;
mod address;
mod beside;
mod budget;
mod client;
mod deadlines;
mod error;
mod files;
mod handle;
mod limits;
mod network;
mod object;
mod observers;
mod offload;
mod opening;
mod proxy;
mod seldom;
mod serve;
mod server;
mod shared;
mod stream;
mod streaming;
mod telemetry;

mod wire;

pub use accept::{AcceptStats, Acceptor, Admitted, Connected, Quota, RefusedBy};
pub use address::{Address, InvalidAddress};
pub use async_trait::async_trait;
pub use binding_span::{CallScope, Enrichment, Policy, PolicyConfig, Rename, current, enrich};
pub use budget::{Budget, Hold};
pub use client::{
    Binding, ConnectOptions, Connection, LazyConnection, Link, LinkState, TailStream,
};
pub use error::CallError;
pub use files::read_file;
pub use handle::{CallOptions, Client, RemoteExternal, RemoteReply, RemoteStub};
pub use js_value::{JsError, Value};
pub use limits::{NetworkLimits, RpcLimits};
#[doc(hidden)]
pub use network::internals;
pub use network::{NetworkStats, Reason};
pub use object::{
    Args, Arguments, ByteService, ByteSink, ByteStream, CallBuilder, ClientId, Context,
    ConvertError, External, IntoArgs, Operation, Payload, PendingCall, Reply, Service,
    ServiceResult, StreamError, Stub, attribute_value, method_names, method_path, nothing, reply,
    service_fn, unknown_method,
};
pub use offload::{LARGE, offload};
pub use proxy::{Forward, Proxy};
pub use server::{Begun, Bindings, Server, TailReceiver};
pub use stream::{BindError, InheritError, ListenOptions, Listener, PeerKey, Trust, Users};
pub use stream::{Identity, InvalidPin, KeyPin, Tls, TlsConfig, TlsError, TlsPart};
pub use telemetry::{STREAM_BYTES_RECEIVED, STREAM_BYTES_SENT};

/// The README's code is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
