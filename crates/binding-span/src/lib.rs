//! A Cap'n Proto callee names and tags its caller's span.
//!
//! A program that calls another sees one meaningless span for the call; only the callee knows what it
//! really did. Here the callee says so while it works ([`enrich`]), its reply carries what was said
//! ([`write()`]), and the caller renames and tags its span ([`read_result`], [`ApplyEnrichment`]).
//!
//! # Goals
//! - A callee author writes one call: `enrich(Enrichment::new().name(..).attribute(..))`.
//! - A hostile or broken callee cannot hurt its caller: [`Limits`] and a [`Policy`] hold on both sides,
//!   and what they drop is counted by reason.
//! - It serves any Cap'n Proto protocol and any OpenTelemetry version ([`SpanSink`]).
//!
//! # Not here
//! Sockets, sessions and an async runtime: those are in `binding-span-js-rpc`.
//!
//! # Features
//! - `opentelemetry`: [`ApplyEnrichment`] reaches the OpenTelemetry side of a `tracing` span.
//! - `json`: attribute values from `serde_json::Value`.

mod applied;
mod child;
mod context;
mod enrichment;
mod limits;
pub mod link;
mod list;
mod policy;
mod scope;
mod sink;
mod span;
mod stated;
mod updates;
mod value;
pub mod wire;

pub use applied::{Applied, OtelSide};
pub use child::ChildSpan;
pub use context::{InvalidTraceparent, InvocationId, SpanContext, SpanId, TraceId};
pub use enrichment::Enrichment;
pub use limits::{DropReason, Dropped, Limits};
pub use list::AttributeList;
pub use policy::{DENIED_PREFIXES, MAX_DISTINCT_NAMES, Policy, PolicyConfig, Rename};
pub use scope::{CallScope, Scoped, current, current_span, enrich};
pub use sink::{
    ErrorInfo, NewSpan, Outcome, Sinks, SpanClose, SpanKind, SpanOpen, SpanRef, SpanSink, apply,
    no_sinks,
};
pub use span::{ApplyEnrichment, EVENT_TARGET, is_enrichment_event};
pub use stated::{ERROR_MESSAGE, ERROR_TYPE, StatedError, error_type};
pub use updates::Updates;
pub use value::{Attribute, AttributeValue, IntoAttributeValue, Maybe};
pub use wire::{read, read_result, write};

/// The generated types of `schema/binding_span.capnp`, so that a user of this crate need not name the
/// schema crate.
pub use binding_span_schema::binding_span_capnp;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
