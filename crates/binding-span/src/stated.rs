//! A call that returned, of which the callee says that it failed.
//!
//! D1 answers a failed statement with a result, as many services do. Whether that was a success only the callee
//! knows, and it says so with the two keys that OpenTelemetry has for it. This is the one place that decides.

use crate::{AttributeValue, Enrichment};

/// The key whose presence says that the call failed: the error's class, of low cardinality.
pub const ERROR_TYPE: &str = "error.type";

/// The key beside it that says what went wrong, for people.
pub const ERROR_MESSAGE: &str = "error.message";

/// What a callee says went wrong in a call that returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedError {
    /// The value of [`ERROR_TYPE`].
    pub kind: String,
    /// The value of [`ERROR_MESSAGE`]; empty if the callee does not say.
    pub message: String,
}

/// The class of an error, if this is the value of one: a text that is not empty, or an integer such as a status
/// code.
pub fn error_type(value: &AttributeValue) -> Option<String> {
    match value {
        AttributeValue::String(text) if !text.is_empty() => Some(text.to_string()),
        AttributeValue::Int64(code) => Some(code.to_string()),
        _ => None,
    }
}

impl Enrichment {
    /// What the callee says went wrong: the call failed if it has an [`ERROR_TYPE`], although it returned. Look at
    /// what a [`Policy`](crate::Policy) accepted, and only of a call that did not fail otherwise.
    ///
    /// ```
    /// use binding_span::Enrichment;
    ///
    /// let said = Enrichment::new().attribute("error.type", "SQLITE_BUSY").attribute("error.message", "locked");
    /// let error = said.stated_error().unwrap();
    /// assert_eq!((error.kind.as_str(), error.message.as_str()), ("SQLITE_BUSY", "locked"));
    /// assert_eq!(Enrichment::new().attribute("error.type", "").stated_error(), None);
    /// ```
    pub fn stated_error(&self) -> Option<StatedError> {
        let kind = error_type(self.get(ERROR_TYPE)?)?;
        let message = self
            .get(ERROR_MESSAGE)
            .and_then(AttributeValue::as_str)
            .unwrap_or_default()
            .to_owned();
        Some(StatedError { kind, message })
    }

    /// Takes both keys out: the call failed by itself, or it is not known yet how it ends.
    pub fn remove_stated_error(&mut self) {
        self.remove(ERROR_TYPE);
        self.remove(ERROR_MESSAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_text_or_an_integer_and_anything_else_states_no_error() {
        let cases: [(AttributeValue, Option<&str>); 8] = [
            ("SQLITE_BUSY".into(), Some("SQLITE_BUSY")),
            (503.into(), Some("503")),
            ("".into(), None),
            (true.into(), None),
            (false.into(), None),
            (1.5.into(), None),
            (["E", "F"].into(), None),
            ([503, 504].into(), None),
        ];
        for (value, kind) in cases {
            let said = Enrichment::new().attribute(ERROR_TYPE, value.clone());
            let stated = said.stated_error().map(|error| error.kind);
            assert_eq!(stated.as_deref(), kind, "{value:?}");
        }
    }

    #[test]
    fn a_message_alone_states_no_error_and_one_that_is_no_text_is_empty() {
        let mut said = Enrichment::new().attribute(ERROR_MESSAGE, 7);
        assert_eq!(said.stated_error(), None);
        said.set_attribute(ERROR_TYPE, "E");
        assert_eq!(said.stated_error().unwrap().message, "");
        said.remove_stated_error();
        assert!(said.is_empty());
    }
}
