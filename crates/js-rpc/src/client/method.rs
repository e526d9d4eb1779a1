//! What is called: a method or a property, by its path.

use crate::telemetry::CallInfo;
use crate::wire::Operation;

/// What is called.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) operation: Operation,
}

impl Method {
    pub(crate) fn of(name: &str, operation: Operation) -> Self {
        Self {
            name: name.to_owned(),
            operation,
        }
    }

    pub(crate) fn info<'a>(&'a self, binding: &'a str) -> CallInfo<'a> {
        CallInfo {
            binding,
            method: &self.name,
            operation: &self.operation,
        }
    }

    /// The elements of its path; none for the target itself.
    pub(crate) fn path(&self) -> Vec<&str> {
        match self.name.as_str() {
            "" => Vec::new(),
            name => name.split('.').collect(),
        }
    }
}
