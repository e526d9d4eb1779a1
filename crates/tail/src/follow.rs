//! Following spans while they happen: which of them to show, and how they look as lines.
//!
//! [`Selection`] lets the events of spans through that a [`Filter`] wants, and [`SpanLines`] makes lines for
//! people of them. Where events come from, a daemon or a file, is not known here.

mod filter;
mod line;
mod lines;
mod place;
mod said;
mod selection;
mod tags;
mod words;

pub use filter::{AttributeFilter, Filter};
pub use lines::{LineStyle, SpanLines};
pub use selection::{Passed, Selection};

/// Spans that are remembered until they end; the oldest are forgotten when there are more.
const SPANS: usize = 65_536;
