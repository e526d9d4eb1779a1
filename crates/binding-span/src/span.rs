//! Applying an enrichment to a span of the `tracing` crate.
//!
//! A `tracing` span's name is static and its fields are fixed where it is made, so there is no one way
//! that every subscriber sees. The OpenTelemetry side of the span is renamed and tagged (feature
//! `opentelemetry`), and an event inside the span says the same to subscribers that print, such as
//! `tracing_subscriber::fmt`. Keep that event out of the OpenTelemetry layer, where it would be a span
//! event: [`is_enrichment_event`] is the filter.

use std::fmt;

use tracing::{Metadata, Span};

use crate::{Dropped, Enrichment};

/// The target of the event that says what was applied.
pub const EVENT_TARGET: &str = "binding_span::enrichment";

/// Whether an event is the one that repeats an enrichment for subscribers that print.
///
/// ```
/// use tracing_subscriber::{filter::FilterFn, Layer};
/// # fn layer<S: tracing::Subscriber>(opentelemetry_layer: impl Layer<S>) -> impl Layer<S>
/// # where S: for<'a> tracing_subscriber::registry::LookupSpan<'a> {
/// opentelemetry_layer.with_filter(FilterFn::new(|metadata| {
///     !binding_span::is_enrichment_event(metadata)
/// }))
/// # }
/// ```
pub fn is_enrichment_event(metadata: &Metadata<'_>) -> bool {
    metadata.target() == EVENT_TARGET
}

/// What applying an enrichment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "an enrichment can be lost silently when OpenTelemetry versions do not match"]
pub struct Applied {
    /// Whether the OpenTelemetry side of the span has the new name.
    pub renamed: bool,
    /// How many attributes the OpenTelemetry side of the span got.
    pub attributes: usize,
    /// Whether the event for subscribers that print was recorded.
    pub event: bool,
    /// What had been dropped from the enrichment, by reason.
    pub dropped: Dropped,
}

impl Applied {
    /// Whether some subscriber saw the enrichment. False for an enrichment that said something means:
    /// no subscriber wanted the span, the trace is not sampled, or the application's
    /// `tracing-opentelemetry` is of another version than this library's and cannot be reached
    /// through the span. In the last case implement [`SpanSink`](crate::SpanSink) for your version.
    pub fn seen(&self) -> bool {
        self.renamed || self.attributes > 0 || self.event
    }
}

/// Applies enrichments to a `tracing` span.
pub trait ApplyEnrichment {
    /// Renames and tags the span. Attributes come in order after the rename, and what was dropped as
    /// the attribute `binding_span.dropped`.
    ///
    /// ```
    /// use binding_span::{ApplyEnrichment, Enrichment};
    ///
    /// let span = tracing::info_span!("inventory", otel.kind = "client");
    /// let said = Enrichment::new().name("inventory.lookup").attribute("items", 3);
    /// let applied = span.apply_enrichment(&said);
    /// assert!(!applied.seen(), "no subscriber is installed in this example");
    /// ```
    fn apply_enrichment(&self, enrichment: &Enrichment) -> Applied;
}

impl ApplyEnrichment for Span {
    fn apply_enrichment(&self, enrichment: &Enrichment) -> Applied {
        let mut applied = Applied {
            dropped: *enrichment.dropped(),
            ..Applied::default()
        };
        // A disabled span is nobody's: there is nothing to do, and nothing is done.
        if self.is_disabled() || enrichment.is_silent() {
            return applied;
        }
        #[cfg(feature = "opentelemetry")]
        otel::apply(self, enrichment, &mut applied);
        applied.event = print(self, enrichment);
        applied
    }
}

/// Says it in an event inside of the span; whether somebody wanted it.
fn print(span: &Span, enrichment: &Enrichment) -> bool {
    let wanted = tracing::event_enabled!(target: EVENT_TARGET, tracing::Level::INFO);
    if wanted {
        let dropped = enrichment.dropped().total();
        tracing::info!(
            target: EVENT_TARGET,
            parent: span,
            name = enrichment.span_name(),
            attributes = %Printed(enrichment),
            dropped = (dropped > 0).then_some(dropped),
            "span enriched"
        );
    }
    wanted
}

/// `key=value` pairs; text quoted and escaped, since it comes from another process.
struct Printed<'a>(&'a Enrichment);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attribute) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            let key = attribute.key.escape_debug();
            match attribute.value.as_str() {
                Some(text) => write!(f, "{space}{key}={text:?}")?,
                None => write!(f, "{space}{key}={}", attribute.value)?,
            }
        }
        Ok(())
    }
}

#[cfg(feature = "opentelemetry")]
mod otel {
    //! The OpenTelemetry side. `update_name` on the span's own context works at any time and from any
    //! thread; recording `otel.name` does not once the context has been asked for.

    use opentelemetry::trace::TraceContextExt;
    use opentelemetry::{KeyValue, StringValue, Value};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use super::Applied;
    use crate::{AttributeValue, Enrichment, wire::DROPPED_KEY};

    pub(super) fn apply(span: &Span, enrichment: &Enrichment, applied: &mut Applied) {
        let context = span.context();
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        if let Some(name) = enrichment.span_name() {
            span.update_name(name.to_owned());
            applied.renamed = true;
        }
        for attribute in enrichment {
            let key = attribute.key.clone();
            span.set_attribute(KeyValue::new(key, value(&attribute.value)));
        }
        applied.attributes = enrichment.attributes().len();
        let dropped = enrichment.dropped().total();
        if dropped > 0 {
            span.set_attribute(KeyValue::new(DROPPED_KEY, dropped as i64));
        }
    }

    fn value(value: &AttributeValue) -> Value {
        match value {
            AttributeValue::String(text) => Value::String(StringValue::from(text.clone())),
            AttributeValue::Bool(value) => Value::Bool(*value),
            AttributeValue::Int64(value) => Value::I64(*value),
            AttributeValue::Float64(value) => Value::F64(*value),
        }
    }
}
