//! Events without `spanUpdate`, for readers that do not know it: what it says, as attributes.

use std::sync::Arc;

use binding_span::{Attribute, InvocationId, SpanId};

use crate::{Event, EventKind, EventSink, SPAN_NAME, SpanChange, StatusCode};

/// The attributes that OpenTelemetry has for a status where a format has no other place for it.
pub(crate) const STATUS_CODE: &str = "otel.status_code";
const STATUS_DESCRIPTION: &str = "otel.status_description";

/// Gives events to another reader, each `spanUpdate` as attributes: a name as [`SPAN_NAME`](crate::SPAN_NAME), a
/// status as `otel.status_code` and `otel.status_description`.
pub struct WithoutUpdates {
    inner: Arc<dyn EventSink>,
}

impl WithoutUpdates {
    /// Gives them to this reader.
    pub fn new(inner: Arc<dyn EventSink>) -> Self {
        Self { inner }
    }
}

impl EventSink for WithoutUpdates {
    fn event(&self, event: &Arc<Event>) -> bool {
        self.inner.event(&without_update(Arc::clone(event)))
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn waits_for_names(&self) -> bool {
        self.inner.waits_for_names()
    }

    fn named(&self, invocation: InvocationId, span: SpanId) {
        self.inner.named(invocation, span);
    }
}

/// The event, a `spanUpdate` as attributes.
pub(crate) fn without_update(event: Arc<Event>) -> Arc<Event> {
    let EventKind::SpanUpdate { info } = &event.event else {
        return event;
    };
    let info = match info {
        SpanChange::Name { name } => vec![Attribute::new(SPAN_NAME, name.clone())],
        SpanChange::Status { status } => {
            let code = match status.code {
                StatusCode::Ok => "OK",
                StatusCode::Error => "ERROR",
                StatusCode::Unset | StatusCode::Unknown => "UNSET",
            };
            let message = status.message.clone();
            let message = message.map(|message| Attribute::new(STATUS_DESCRIPTION, message));
            let code = Attribute::new(STATUS_CODE, code);
            std::iter::once(code).chain(message).collect()
        }
        SpanChange::Unknown => Vec::new(),
    };
    Arc::new(Event {
        event: EventKind::Attributes { info },
        ..Event::clone(&event)
    })
}
