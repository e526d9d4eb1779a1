//! What became of an enrichment that was applied to a span, for programs and for people.

use std::fmt;

use crate::Dropped;

/// What was found on the OpenTelemetry side of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OtelSide {
    /// Nobody looked: there was nothing to apply, no subscriber wanted the span, or this library was
    /// built without its feature `opentelemetry`.
    #[default]
    NotAsked,
    /// No OpenTelemetry span was found. Either there is no OpenTelemetry layer, or its filter does not
    /// want the span, or it is inside a `reload::Layer`, or it is of another version of
    /// `tracing-opentelemetry` than this library's.
    /// For the last case implement [`SpanSink`](crate::SpanSink) on your version.
    Unreachable,
    /// The trace is not sampled: nothing is exported, and nothing was done.
    NotSampled,
    /// The span is recorded and has the enrichment.
    Recorded,
}

/// What applying an enrichment did.
///
/// ```
/// use binding_span::{Applied, ApplyEnrichment, Enrichment};
///
/// let span = tracing::info_span!("inventory");
/// let applied: Applied = span.apply_enrichment(&Enrichment::new().name("inventory.lookup"));
/// if !applied.seen() {
///     eprintln!("{applied}");
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "an enrichment can be lost silently when OpenTelemetry versions do not match"]
pub struct Applied {
    /// Whether the OpenTelemetry side of the span was reached.
    pub opentelemetry: OtelSide,
    /// Whether the OpenTelemetry side of the span has the new name.
    pub renamed: bool,
    /// How many attributes the OpenTelemetry side of the span got. The SDK keeps 128 for each span
    /// unless told otherwise (`OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`), and does not say what it cuts.
    pub attributes: usize,
    /// Whether somebody read the event that repeats the enrichment: a subscriber that prints, or an
    /// OpenTelemetry layer from which it was not [kept out](crate::is_enrichment_event).
    pub event: bool,
    /// What had been dropped from the enrichment, by reason.
    pub dropped: Dropped,
}

impl Applied {
    /// Whether some subscriber saw the enrichment.
    ///
    /// False for an enrichment that said something means that [`opentelemetry`](Self::opentelemetry)
    /// was not reached (see there why) and that nobody prints `binding_span::enrichment` either.
    pub fn seen(&self) -> bool {
        self.exported() || self.event
    }

    /// Whether the enrichment is on a span that OpenTelemetry records.
    pub fn exported(&self) -> bool {
        self.opentelemetry == OtelSide::Recorded
    }
}

/// One line for people: what was done, or why nothing was.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.opentelemetry {
            OtelSide::Recorded => {
                let renamed = if self.renamed {
                    "renamed"
                } else {
                    "not renamed"
                };
                write!(f, "{renamed}, {} attributes", self.attributes)?;
            }
            OtelSide::NotSampled => f.write_str("not exported: the trace is not sampled")?,
            OtelSide::Unreachable => f.write_str(
                "not exported: no OpenTelemetry span of this library's version was found",
            )?,
            OtelSide::NotAsked => f.write_str("nothing exported")?,
        }
        if self.event {
            f.write_str("; logged")?;
        }
        if !self.dropped.is_empty() {
            write!(f, "; dropped {}", self.dropped)?;
        }
        Ok(())
    }
}
