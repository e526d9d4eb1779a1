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

/// A span that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewSpan {
    /// The span that it is a child of. Its flags may be unset: then nobody has decided yet whether
    /// this trace is recorded.
    pub parent: Option<SpanContext>,
    /// Whether that one is of another process.
    pub remote: bool,
    /// Which side it shows.
    pub kind: SpanKind,
}

impl NewSpan {
    /// The identity that it has unless a sink knows better: a new span of its parent's trace with its
    /// parent's flags, or the first one of a new trace.
    pub fn by_default(&self) -> SpanContext {
        self.parent
            .map_or_else(SpanContext::root, |parent| parent.child())
    }
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
    /// Who a span shall be: its ids, and the decision whether its trace is recorded, which are sent to
    /// the callee. `None` leaves it to others; of several sinks the first that answers counts.
    ///
    /// Not asked where the application's OpenTelemetry layer has made the span, nor for a
    /// [`ChildSpan`](crate::ChildSpan), which takes after its parent.
    fn identify(&self, _new: &NewSpan) -> Option<SpanContext> {
        None
    }

    /// Whether it looks at such a span at all. Where no sink does, nothing is done for the span: no
    /// clock is read, no attribute made, no enrichment decoded, and nothing of it is reported.
    fn wants(&self, _span: SpanContext) -> bool {
        true
    }

    /// Whether callees are not to be told whose children their spans are. One sink that says so is
    /// enough; where there is none at all, a parent that was given is passed on.
    fn hides(&self) -> bool {
        false
    }

    /// Whether somebody looks at spans as they change, so that enrichment is wanted before the call
    /// returns. One sink that says so is enough. May change at any time.
    fn live(&self) -> bool {
        false
    }

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
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        self.iter().find_map(|sink| sink.identify(new))
    }

    fn wants(&self, span: SpanContext) -> bool {
        self.iter().any(|sink| sink.wants(span))
    }

    fn hides(&self) -> bool {
        self.iter().any(SpanSink::hides)
    }

    fn live(&self) -> bool {
        self.iter().any(SpanSink::live)
    }

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
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        (**self).identify(new)
    }

    fn wants(&self, span: SpanContext) -> bool {
        (**self).wants(span)
    }

    fn hides(&self) -> bool {
        (**self).hides()
    }

    fn live(&self) -> bool {
        (**self).live()
    }

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
