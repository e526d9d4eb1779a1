//! Values <-> any type with serde, without a detour over text.
//!
//! serde's data model has no Date, BigInt or stub. They pass as newtype structs with names of our
//! own: our serializer and deserializer recognise the names, every other format sees what is
//! inside.

mod de;
mod elements;
mod key;
mod ser;
mod types;

pub use de::from_value;
pub use ser::to_value;
pub use types::bigint;

/// The name of a newtype struct around a `u32` that serializes to [`Value::Stub`] and back. For
/// another crate's type of stubs, which keeps the table of externals.
///
/// [`Value::Stub`]: crate::Value::Stub
pub const STUB_TOKEN: &str = "$js_value::Stub";

/// The same for [`Value::ReadableStream`].
///
/// [`Value::ReadableStream`]: crate::Value::ReadableStream
pub const READABLE_TOKEN: &str = "$js_value::ReadableStream";

/// The same for [`Value::WritableStream`].
///
/// [`Value::WritableStream`]: crate::Value::WritableStream
pub const WRITABLE_TOKEN: &str = "$js_value::WritableStream";

/// The name of a newtype struct around any value of ours.
const VALUE_TOKEN: &str = "$js_value::Value";

/// Why a type and a value do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// What the type's own `Serialize` or `Deserialize` says, such as a missing field.
    #[error("{0}")]
    Custom(String),
    /// The value contains itself, or its shared references expand to too much.
    #[error(transparent)]
    Expand(#[from] crate::ExpandError),
    /// A map key that cannot be the name of a property.
    #[error("a map key must be a string, a number, a boolean or a character")]
    BadKey,
    /// Nested deeper than 256 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// How deep types may be nested.
const MAX_DEPTH: usize = 256;

impl serde::ser::Error for SerdeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
