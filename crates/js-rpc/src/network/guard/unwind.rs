//! Letting go, in pieces, of what the peer of an ended connection held.
//!
//! capnp-rpc drops all calls and capabilities of a connection in one turn when it hears of the end, for
//! which everybody else on the thread waits. So before it hears of it, it gets the messages with which an
//! orderly peer lets go: a finish for each question, then a release for each capability. What remains is
//! the connection itself, and entries with nothing behind them.

use super::tables::State;
use super::{Guard, reply};
use crate::network::frame::Frame;

/// Bytes held for a question that are as much work to let go of as a question with none.
const BYTES: usize = 1024;

/// What is still to be let go of.
pub(in crate::network) struct Unwind {
    questions: Vec<u32>,
    /// Known once the questions are finished, which releases what is in their results.
    exports: Option<Vec<u32>>,
}

impl Guard {
    /// How much work it is to let go of all that the peer holds, in messages.
    pub(in crate::network) const fn weight(&self) -> usize {
        let tables = &self.tables;
        let capabilities = tables.exports.len() + tables.imports.len() / 8;
        tables.answers.len() + capabilities + tables.bytes.total() / BYTES
    }

    /// Begins to let go of all that the peer holds.
    pub(in crate::network) fn unwind(&self) -> Unwind {
        Unwind {
            questions: self.tables.answers.ids(),
            exports: None,
        }
    }
}

impl Unwind {
    /// The next message for the RPC system, as if the peer had sent it, and how much work it is.
    pub(in crate::network) fn next(&mut self, guard: &mut Guard) -> Option<(Frame, usize)> {
        let tables = &mut guard.tables;
        while let Some(question) = self.questions.pop() {
            let bytes = tables.answers.get(question).map_or(0, |it| it.bytes);
            // Of the others the RPC system knows nothing, or that they are finished.
            if let Some(State::Running | State::Returned) = tables.finish(question, true) {
                return Some((reply::finished(question), 1 + bytes as usize / BYTES));
            }
        }
        let exports = self.exports.get_or_insert_with(|| tables.exports.ids());
        while let Some(id) = exports.pop() {
            let references = tables.exports.get(id).map_or(0, |it| it.references());
            if references > 0 && tables.release_export(id, references) {
                return Some((reply::released(id, references), 1));
            }
        }
        None
    }
}
