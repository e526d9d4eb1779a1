//! Tail events: the live record of spans.
//!
//! A [`Feed`] is a [`SpanSink`](binding_span::SpanSink) that turns what happens to spans into
//! [`Event`]s, in the shape that workerd's streaming tail workers know, and hands them to readers:
//! [`JsonLines`] writes them down, a [`History`] keeps the recent ones for whoever wants to look live, a
//! [`Subscription`] gives them to a program. A [`Selection`] and [`SpanLines`] show them to people while
//! they happen. A [`Recorder`] keeps finished spans in memory, and a [`Tree`] shows spans to people, from
//! a recorder, from events, or from the JSON lines of several processes.
//!
//! # Goals
//! - Reporting a span never waits for a disk, a terminal or a slow reader: queues are bounded, what
//!   does not fit is lost, and the reader is told how much.
//! - Names and values come from other processes: nothing that a terminal would act on reaches it.
//!
//! # Not here
//! Who makes spans (`binding-span-js-rpc`), and OpenTelemetry.
//!
//! ```
//! use std::sync::Arc;
//! use binding_span::{Attribute, SpanSink};
//! # use binding_span::{Outcome, SpanClose, SpanContext, InvocationId, SpanKind, SpanOpen, SpanRef};
//! # use std::time::SystemTime;
//! use tail::{Feed, JsonLines, Recorder, Tree, TreeStyle};
//!
//! let (feed, recorder) = (Feed::new(), Arc::new(Recorder::new()));
//! let lines = Arc::new(JsonLines::stderr());
//! feed.subscribe(lines.clone());
//! let sinks: binding_span::Sinks = Arc::new([Arc::new(feed) as Arc<dyn SpanSink>, recorder.clone()]);
//!
//! // ... `sinks` go to whatever makes spans ...
//! # let span = SpanRef { context: SpanContext::root(), invocation: InvocationId::random() };
//! # let time = SystemTime::now();
//! # sinks.open(&SpanOpen { span, parent: None, name: "jsRpcSession", kind: SpanKind::Client, root: true, time, attributes: &[] });
//! # sinks.rename(span, "d1.query");
//! # sinks.attributes(span, &[Attribute::new("rows", 3)]);
//! # sinks.close(&SpanClose { span, outcome: Outcome::Ok, error: None, time });
//!
//! lines.flush(std::time::Duration::from_secs(1));
//! let tree: Tree = recorder.spans().iter().collect();
//! assert_eq!(tree.render(TreeStyle::plain()), "\
//! ● jsRpcSession → d1.query  0 µs  ok
//!     rows = 3
//! ");
//! ```

mod aged;
mod details;
mod event;
mod feed;
mod follow;
mod history;
mod invocation;
mod json;
mod json_lines;
mod late;
mod notice;
mod onset;
mod paint;
mod plain;
mod queue;
mod recorder;
mod text;
mod tree;
pub mod wire;

pub use details::{ChannelMessage, ErrorInfo, Log, Published, SpanChange, SpanStatus, StatusCode};
pub use event::{Diagnostic, Event, EventKind, StreamContext};
pub use feed::{EventSink, Feed, FeedStats, Renames};
pub use follow::{AttributeFilter, Filter, LineStyle, Passed, Selection, SpanLines};
pub use history::{
    Batch, Begun, History, HistoryLimits, HistoryReader, HistoryStats, Since, Start,
};
pub use invocation::FeedLimits;
pub use json::{InvalidLine, JsonText, MAX_LINE};
pub use json_lines::{JsonLines, Rotation};
pub use late::{LateLimits, LateNames};
pub use notice::{FeedLine, Notice};
pub use onset::{
    FetchInfo, Header, Onset, OnsetInfo, Preview, ReturnInfo, ScriptVersion, SpanInfo,
    WebSocketEvent,
};
pub use plain::WithoutUpdates;
pub use queue::{QueueGauge, QueueLimits, Subscription, queue};
pub use recorder::{FinishedSpan, Recorder, SpanError};
pub use text::{escape, human_duration};
pub use tree::{LinesRead, Tree, TreeStyle};

/// The attribute by which a tail event renames its span, where it is no [`SpanChange`].
pub const SPAN_NAME: &str = "span.name";

/// The name of a session's span until somebody renames it. An onset has no name of its own; a span
/// that an onset stands for has this one unless the onset says otherwise.
pub const SESSION_NAME: &str = "jsRpcSession";

/// The attribute that carries the class of a span's error.
pub(crate) const ERROR_TYPE: &str = "error.type";

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
