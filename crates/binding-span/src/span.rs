//! Applying an enrichment to a span of the `tracing` crate.
//!
//! A `tracing` span's name is static and its fields are fixed where it is made, so there is no one way
//! that every subscriber sees. The OpenTelemetry side of the span is renamed and tagged (feature
//! `opentelemetry`), and an event inside the span says the same to subscribers that print, such as
//! `tracing_subscriber::fmt`. Keep that event out of the OpenTelemetry layer, where it would be a span
//! event: [`is_enrichment_event`] is the filter.

use std::cell::Cell;
use std::fmt;

use tracing::{Metadata, Span};

use crate::{Applied, Enrichment};

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

/// Applies enrichments to a `tracing` span. Nothing else implements it.
pub trait ApplyEnrichment: sealed::Sealed {
    /// Renames and tags the span. Attributes come in order after the rename, and what was dropped as
    /// the attribute `binding_span.dropped`. Where the callee [says that the call
    /// failed](Enrichment::stated_error), so does the span's status.
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

mod sealed {
    pub trait Sealed {}
    impl Sealed for tracing::Span {}
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

/// Says it in an event inside of the span; whether somebody read it. With filters for each layer
/// `tracing` itself cannot tell whether an event is wanted, but who prints it asks for its text.
fn print(span: &Span, enrichment: &Enrichment) -> bool {
    let read = Cell::new(false);
    let dropped = enrichment.dropped().total();
    tracing::info!(
        target: EVENT_TARGET,
        parent: span,
        name = enrichment.span_name(),
        attributes = %Printed(enrichment, &read),
        dropped = (dropped > 0).then_some(dropped),
        "span enriched"
    );
    read.get()
}

/// `key=value` pairs; text quoted and escaped, since it comes from another process.
struct Printed<'a>(&'a Enrichment, &'a Cell<bool>);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.set(true);
        for (i, attribute) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            f.write_str(space)?;
            print_key(&attribute.key, f)?;
            match attribute.value.as_str() {
                Some(text) => write!(f, "={text:?}")?,
                None => write!(f, "={}", attribute.value)?,
            }
        }
        Ok(())
    }
}

/// A key as it is, or quoted when it could be taken for something else, such as two attributes.
fn print_key(key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'=' | b'"' | b'\\');
    if key.bytes().all(plain) {
        f.write_str(key)
    } else {
        write!(f, "{key:?}")
    }
}

#[cfg(feature = "opentelemetry")]
mod otel {
    //! The OpenTelemetry side. `update_name` on the span's own context works at any time and from any
    //! thread; recording `otel.name` does not once the context has been asked for.

    use opentelemetry::trace::{Status, TraceContextExt};
    use opentelemetry::{Array, KeyValue, StringValue, Value};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use crate::{Applied, AttributeList, AttributeValue, Enrichment, OtelSide, wire::DROPPED_KEY};

    pub(super) fn apply(span: &Span, enrichment: &Enrichment, applied: &mut Applied) {
        let context = span.context();
        let span = context.span();
        if !span.is_recording() {
            // Without a layer of our version there is not even an identity.
            applied.opentelemetry = if span.span_context().is_valid() {
                OtelSide::NotSampled
            } else {
                OtelSide::Unreachable
            };
            return;
        }
        applied.opentelemetry = OtelSide::Recorded;
        if let Some(name) = enrichment.span_name() {
            span.update_name(name.to_owned());
            applied.renamed = true;
        }
        // First, because the SDK cuts a span's last attributes: this one should say so.
        let dropped = enrichment.dropped().total();
        if dropped > 0 {
            span.set_attribute(KeyValue::new(DROPPED_KEY, dropped as i64));
        }
        for attribute in enrichment {
            let key = attribute.key.clone();
            span.set_attribute(KeyValue::new(key, value(&attribute.value)));
        }
        if let Some(error) = enrichment.stated_error() {
            span.set_status(Status::error(error.message));
        }
        applied.attributes = enrichment.attributes().len();
    }

    fn value(value: &AttributeValue) -> Value {
        match value {
            AttributeValue::String(text) => Value::String(StringValue::from(text.clone())),
            AttributeValue::Bool(value) => Value::Bool(*value),
            AttributeValue::Int64(value) => Value::I64(*value),
            AttributeValue::Float64(value) => Value::F64(*value),
            AttributeValue::List(list) => Value::Array(array(list)),
        }
    }

    fn array(list: &AttributeList) -> Array {
        match list {
            AttributeList::Strings(list) => {
                Array::String(list.iter().cloned().map(StringValue::from).collect())
            }
            AttributeList::Bools(list) => Array::Bool(list.clone()),
            AttributeList::Int64s(list) => Array::I64(list.clone()),
            AttributeList::Float64s(list) => Array::F64(list.clone()),
        }
    }
}
