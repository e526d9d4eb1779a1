//! `OTEL_PROPAGATORS=none`: traces begin and end at this process.

use binding_span::{Attribute, NewSpan, SpanContext, SpanRef, SpanSink};

use super::sampler::Sampler;

/// Decides who spans are without regard to other processes, and tells those nothing.
pub(crate) struct Isolated {
    /// That of the export, if there is one.
    pub(crate) sampler: Option<Sampler>,
}

impl SpanSink for Isolated {
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        let new = NewSpan {
            parent: new.parent.filter(|_| !new.remote),
            ..*new
        };
        Some(match &self.sampler {
            Some(sampler) => sampler.identify(&new),
            None => new.by_default(),
        })
    }

    fn wants(&self, _span: SpanContext) -> bool {
        false
    }

    fn hides(&self) -> bool {
        true
    }

    fn rename(&self, _span: SpanRef, _name: &str) {}

    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}
}
