//! Values <-> JSON, by the one table in the [crate's documentation](crate#json).

mod http;
mod read;
mod text;
mod write;
mod write_text;

pub use text::{JsonTextError, json_from_text};
pub use write::to_json;
pub use write_text::{json_text, json_text_pretty};

#[cfg(test)]
mod tests;

/// The words that mark what JSON lacks. An object whose only name is one of them, after any number
/// of further `$`, is written with one `$` more.
const WORDS: [&str; 21] = [
    "$undefined",
    "$number",
    "$bigint",
    "$date",
    "$bytes",
    "$buffer",
    "$view",
    "$map",
    "$set",
    "$array",
    "$regexp",
    "$error",
    "$stub",
    "$readable",
    "$writable",
    "$headers",
    "$request",
    "$response",
    "$blob",
    "$boxed",
    "$text",
];

/// Whether an object with this only name could be taken for one of ours.
fn is_reserved(name: &str) -> bool {
    let plain = name.trim_start_matches('$');
    let dollars = name.len() - plain.len();
    dollars > 0 && WORDS.contains(&&name[dollars - 1..])
}

/// Why a value cannot be written as JSON, or JSON not be read as a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The value contains itself, or its shared references expand to too much.
    #[error(transparent)]
    Expand(#[from] crate::ExpandError),
    /// An object with one of our words whose content is not what the word asks for.
    #[error("`{word}` needs {wanted}; for a plain object write `${word}`")]
    Malformed {
        /// The word.
        word: String,
        /// What it asks for, in words.
        wanted: &'static str,
    },
    /// The name of a property has a lone surrogate.
    #[error("the name of a property is not well-formed text")]
    IllFormedName,
    /// Nested deeper than 256 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// How deep JSON and values may be nested.
const MAX_DEPTH: usize = 256;
