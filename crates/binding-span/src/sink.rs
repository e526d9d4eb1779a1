//! Where spans are reported: the one trait between those who make spans and those who show them.
//!
//! `js-rpc` reports every call here whatever log filter is set; the tail and the metrics are sinks.
//! An application whose OpenTelemetry version is not ours implements it to get renames and attributes
//! onto its own spans.

use std::time::SystemTime;

use crate::{Attribute, Dropped, Enrichment, InvocationId, SpanContext, SpanId};

/// A span as sinks know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SpanRef {
    /// Trace, span, flags.
    pub context: SpanContext,
    /// The run of work that it belongs to.
    pub invocation: InvocationId,
}

/// Which side of a call a span shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// The caller's view of a call.
    Client,
    /// The callee's view of a call.
    Server,
    /// Work within one process.
    Internal,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did what was asked.
    Ok,
    /// It failed.
    Exception,
    /// Its caller stopped waiting.
    Canceled,
    /// Its deadline passed.
    ExceededWallTime,
}

impl Outcome {
    /// The name that tail events have for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exception => "exception",
            Self::Canceled => "canceled",
            Self::ExceededWallTime => "exceededWallTime",
        }
    }
}

/// An error as telemetry shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorInfo<'a> {
    /// Its class, of low cardinality: `TypeError`, `deadline`. The value of `error.type`.
    pub kind: &'a str,
    /// Its message.
    pub message: &'a str,
}

/// The beginning of a span.
#[derive(Debug, Clone, Copy)]
pub struct SpanOpen<'a> {
    /// Who it is.
    pub span: SpanRef,
    /// The span that it is a child of, in the same trace.
    pub parent: Option<SpanId>,
    /// Its name until somebody renames it.
    pub name: &'a str,
    /// Which side it shows.
    pub kind: SpanKind,
    /// Whether it is the first span of its invocation in this process.
    pub root: bool,
    /// When it began.
    pub time: SystemTime,
    /// What is known from the beginning.
    pub attributes: &'a [Attribute],
}

/// The end of a span.
#[derive(Debug, Clone, Copy)]
pub struct SpanClose<'a> {
    /// Who it is.
    pub span: SpanRef,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, if something did.
    pub error: Option<ErrorInfo<'a>>,
    /// When it ended.
    pub time: SystemTime,
}

/// Something that shows spans.
///
/// Calls for one span come in order, those for different spans from any thread. They are on the path
/// of a call: return at once, hand over what takes time. Only `rename` and `attributes` must be
/// written; that is all an application needs that applies enrichment to spans of its own.
///
/// ```
/// use std::sync::Mutex;
/// use binding_span::{apply, Attribute, Enrichment, SpanRef, SpanSink};
///
/// #[derive(Default)]
/// struct Names(Mutex<Vec<String>>);
///
/// impl SpanSink for Names {
///     fn rename(&self, _span: SpanRef, name: &str) {
///         self.0.lock().unwrap().push(name.to_owned()); // your span's `update_name`
///     }
///     fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {} // your `set_attribute`
/// }
///
/// let names = Names::default();
/// apply(&Enrichment::new().name("d1.query"), SpanRef::default(), &names);
/// assert_eq!(*names.0.lock().unwrap(), ["d1.query"]);
/// ```
pub trait SpanSink: Send + Sync {
    /// A span began.
    fn open(&self, _open: &SpanOpen<'_>) {}

    /// A span has a new name.
    fn rename(&self, span: SpanRef, name: &str);

    /// A span has these attributes, besides the earlier ones. A key comes at most once in a call;
    /// one that came earlier replaces its value.
    fn attributes(&self, span: SpanRef, attributes: &[Attribute]);

    /// Parts of an enrichment of this span were dropped.
    fn dropped(&self, _span: SpanRef, _dropped: &Dropped) {}

    /// The call that a span stands for returned, or failed. Its span may stay open: a session's does for
    /// as long as something of it is held. One that was abandoned only closes.
    fn returned(&self, _span: SpanRef, _outcome: Outcome, _error: Option<ErrorInfo<'_>>) {}

    /// A span ended.
    fn close(&self, _close: &SpanClose<'_>) {}
}

/// Reports an enrichment to a sink: the rename, then the attributes, then what was dropped.
pub fn apply<S: SpanSink + ?Sized>(enrichment: &Enrichment, span: SpanRef, sink: &S) {
    if let Some(name) = enrichment.span_name() {
        sink.rename(span, name);
    }
    if !enrichment.attributes().is_empty() {
        sink.attributes(span, enrichment.attributes());
    }
    if !enrichment.dropped().is_empty() {
        sink.dropped(span, enrichment.dropped());
    }
}

/// Several sinks as one: each gets every report, in order.
impl<S: SpanSink> SpanSink for [S] {
    fn open(&self, open: &SpanOpen<'_>) {
        self.iter().for_each(|sink| sink.open(open));
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.iter().for_each(|sink| sink.rename(span, name));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.iter()
            .for_each(|sink| sink.attributes(span, attributes));
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.iter().for_each(|sink| sink.dropped(span, dropped));
    }

    fn returned(&self, span: SpanRef, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        self.iter()
            .for_each(|sink| sink.returned(span, outcome, error));
    }

    fn close(&self, close: &SpanClose<'_>) {
        self.iter().for_each(|sink| sink.close(close));
    }
}

impl<S: SpanSink + ?Sized> SpanSink for std::sync::Arc<S> {
    fn open(&self, open: &SpanOpen<'_>) {
        (**self).open(open);
    }

    fn rename(&self, span: SpanRef, name: &str) {
        (**self).rename(span, name);
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        (**self).attributes(span, attributes);
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        (**self).dropped(span, dropped);
    }

    fn returned(&self, span: SpanRef, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        (**self).returned(span, outcome, error);
    }

    fn close(&self, close: &SpanClose<'_>) {
        (**self).close(close);
    }
}

/// The sinks of a process: shared, and possibly none.
pub type Sinks = std::sync::Arc<[std::sync::Arc<dyn SpanSink>]>;

/// No sinks at all.
pub fn no_sinks() -> Sinks {
    std::sync::Arc::new([])
}
