//! Which spans somebody wants to see.

use std::time::Duration;

use binding_span::{Attribute, AttributeList, AttributeValue, ERROR_TYPE, error_type};
use wildmatch::WildMatch;

use crate::SPAN_NAME;
use crate::plain::STATUS_CODE;

/// Which spans to show: those that meet every condition at some time of their life. Without conditions,
/// all.
///
/// In a pattern `*` is any text and `?` one character; upper and lower case differ.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A pattern for the binding.
    pub binding: Option<String>,
    /// A pattern for the name: the first one, or one that it was given.
    pub name: Option<String>,
    /// Attributes that it must have.
    pub attributes: Vec<AttributeFilter>,
    /// Only spans that take this long, or longer.
    pub min_duration: Option<Duration>,
    /// Only spans that fail: by an exception, an outcome other than `ok`, or an `error.type`.
    pub errors: bool,
}

/// An attribute that a span must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeFilter {
    /// Its key.
    pub key: String,
    /// A pattern for its value, as text, or for an element of a list; without one any value will do.
    pub value: Option<String>,
}

/// A filter that is ready to be asked.
#[derive(Debug)]
pub(super) struct Conditions {
    binding: Option<WildMatch>,
    name: Option<WildMatch>,
    attributes: Vec<(String, Option<WildMatch>)>,
    min_duration: Option<Duration>,
    errors: bool,
}

/// Which conditions a span has met so far; what was met stays met.
#[derive(Debug, Clone, Default)]
pub(super) struct Met {
    binding: bool,
    name: bool,
    attributes: u64,
    long: bool,
    failed: bool,
}

impl Conditions {
    /// Of more than 64 attributes the rest counts as met.
    pub(super) fn new(filter: &Filter) -> Self {
        let pattern = |text: &String| WildMatch::new(text);
        let attribute = |a: &AttributeFilter| (a.key.clone(), a.value.as_ref().map(pattern));
        Self {
            binding: filter.binding.as_ref().map(pattern),
            name: filter.name.as_ref().map(pattern),
            attributes: filter.attributes.iter().take(64).map(attribute).collect(),
            min_duration: filter.min_duration,
            errors: filter.errors,
        }
    }

    pub(super) fn all_met(&self, met: &Met) -> bool {
        (self.binding.is_none() || met.binding)
            && (self.name.is_none() || met.name)
            && met.attributes.count_ones() as usize == self.attributes.len()
            && (self.min_duration.is_none() || met.long)
            && (!self.errors || met.failed)
    }

    pub(super) fn binding(&self, met: &mut Met, binding: &str) {
        met.binding |= self.binding.as_ref().is_some_and(|p| p.matches(binding));
    }

    pub(super) fn name(&self, met: &mut Met, name: &str) {
        met.name |= self.name.as_ref().is_some_and(|p| p.matches(name));
    }

    pub(super) fn lasted(&self, met: &mut Met, duration: Duration) {
        met.long |= self.min_duration.is_some_and(|least| duration >= least);
    }

    pub(super) fn failed(&self, met: &mut Met) {
        met.failed = true;
    }

    pub(super) fn attribute(&self, met: &mut Met, attribute: &Attribute) {
        match (&*attribute.key, attribute.value.as_str()) {
            (SPAN_NAME, Some(name)) => self.name(met, name),
            (super::selection::BINDING, Some(binding)) => self.binding(met, binding),
            (STATUS_CODE, Some("ERROR")) => self.failed(met),
            (ERROR_TYPE, _) if error_type(&attribute.value).is_some() => self.failed(met),
            _ => {}
        }
        for (i, (key, pattern)) in self.attributes.iter().enumerate() {
            let wanted = *key == attribute.key
                && pattern
                    .as_ref()
                    .is_none_or(|pattern| matches(pattern, &attribute.value));
            met.attributes |= u64::from(wanted) << i;
        }
    }
}

/// Whether a value is meant, as one would write it: strings without quotes. Of a list, an element or all of it.
fn matches(pattern: &WildMatch, value: &AttributeValue) -> bool {
    let AttributeValue::List(list) = value else {
        return match value.as_str() {
            Some(text) => pattern.matches(text),
            None => pattern.matches(&value.to_string()),
        };
    };
    let element = match &**list {
        AttributeList::Strings(list) => list.iter().any(|text| pattern.matches(text)),
        AttributeList::Bools(list) => list.iter().any(|value| pattern.matches(&value.to_string())),
        AttributeList::Int64s(list) => list.iter().any(|value| pattern.matches(&value.to_string())),
        AttributeList::Float64s(list) => list
            .iter()
            .any(|value| pattern.matches(&format!("{value:?}"))),
    };
    element || pattern.matches(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_meant_by_an_element_and_by_all_of_it() {
        let cases: [(AttributeValue, &str, bool); 10] = [
            (["stop", "length"].into(), "length", true),
            (["stop", "length"].into(), "l*", true),
            (["stop", "length"].into(), "stop*length", false),
            (["stop", "length"].into(), "[\"stop\", \"length\"]", true),
            (["stop", "length"].into(), "tool_calls", false),
            ([1, 20].into(), "20", true),
            ([1, 20].into(), "2", false),
            ([true].into(), "true", true),
            ([1.0, 2.5].into(), "1.0", true),
            ("stop".into(), "stop", true),
        ];
        for (value, pattern, met) in cases {
            assert_eq!(
                matches(&WildMatch::new(pattern), &value),
                met,
                "{value} {pattern}"
            );
        }
    }
}
