//! What is called: a method or a property, by its path.

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Call the method.
    Call,
    /// Read the property.
    Get,
}

impl Operation {
    /// The name that attributes have for it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Get => "getProperty",
        }
    }
}

/// What is called; a path of several elements has dots between them, and none is the target itself.
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
}
