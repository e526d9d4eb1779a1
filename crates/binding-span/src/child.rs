//! Spans of the callee's own, below the call's: one for a statement, one for a request that it makes
//! itself. They are reported to the sinks of the process; nothing of them travels to the caller.

use std::fmt;
use std::sync::Arc;
use std::thread::panicking;
use std::time::SystemTime;

use crate::scope::Call;
use crate::sink::{ErrorInfo, SpanClose, SpanOpen};
use crate::{Attribute, IntoAttributeValue, Outcome, SpanContext, SpanKind, SpanRef, SpanSink};

/// A span of the callee's own; closed when dropped: as failed if by a panic, as canceled if its
/// [call was](crate::CallScope::cancel). Inert where nobody records spans. Made by
/// [`CallScope::child_span`](crate::CallScope::child_span).
#[derive(Debug)]
pub struct ChildSpan(Option<OpenSpan>);

struct OpenSpan {
    span: SpanRef,
    call: Arc<Call>,
    error: Option<(String, String)>,
    /// Whether a panic was under way when it began, which is then not its own.
    in_panic: bool,
}

impl ChildSpan {
    pub(crate) const fn inert() -> Self {
        Self(None)
    }

    pub(crate) fn open(call: &Arc<Call>, name: &str) -> Self {
        if call.sinks.is_empty() {
            return Self::inert();
        }
        let parent = call.span;
        let span = SpanRef {
            context: parent.context.child(),
            ..parent
        };
        call.sinks.open(&SpanOpen {
            span,
            parent: Some(parent.context.span_id),
            name,
            kind: SpanKind::Internal,
            root: false,
            time: SystemTime::now(),
            attributes: &[],
        });
        Self(Some(OpenSpan {
            span,
            call: Arc::clone(call),
            error: None,
            in_panic: panicking(),
        }))
    }

    /// Tags the span.
    pub fn attribute(&self, key: &'static str, value: impl IntoAttributeValue) {
        if let (Some(open), Some(value)) = (&self.0, value.into_attribute_value()) {
            open.call
                .sinks
                .attributes(open.span, &[Attribute::new(key, value)]);
        }
    }

    /// Says that the work failed: its error's class (low cardinality) and message.
    pub fn fail(&mut self, kind: &str, message: &str) {
        if let Some(open) = &mut self.0 {
            open.error = Some((kind.to_owned(), message.to_owned()));
        }
    }

    /// The identity of the span, for children of its own.
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|open| open.span.context)
    }
}

impl fmt::Debug for OpenSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(f)
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let said = self.error.as_ref();
        let error = match said.map(|(kind, message)| ErrorInfo { kind, message }) {
            None if panicking() && !self.in_panic => Some(PANIC),
            error => error,
        };
        self.call.sinks.close(&SpanClose {
            span: self.span,
            outcome: match error {
                Some(_) => Outcome::Exception,
                None if self.call.is_canceled_here() => Outcome::Canceled,
                None => Outcome::Ok,
            },
            error,
            time: SystemTime::now(),
        });
    }
}

const PANIC: ErrorInfo<'static> = ErrorInfo {
    kind: "panic",
    message: "the work panicked",
};
