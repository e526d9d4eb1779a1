//! Leave for a call to go out: at once while there is room on its connection, else when it is its turn.

use std::rc::Rc;

use crate::CallError;
use crate::client::connection::Connection;
use crate::client::line::Line;
use crate::network::{Gate, Turn};

/// Leave to send one call. Drop it when the call is sent.
#[derive(Default)]
pub(crate) struct Room {
    /// Where a session is to be opened.
    pub(crate) line: Option<Rc<Line>>,
    _turn: Option<Turn>,
}

impl Room {
    /// Room for a call of something that is there already.
    pub(crate) fn for_call(gate: &Gate) -> Option<Self> {
        lets_in(gate).then(Self::default)
    }

    /// Room for a new session.
    pub(crate) fn for_session(on: &Connection) -> Option<Self> {
        let line = on.line();
        lets_in(line.gate()).then_some(Self {
            line: Some(line),
            _turn: None,
        })
    }

    /// The same, when there is.
    pub(crate) async fn wait_for_call(gate: &Gate) -> Result<Self, CallError> {
        loop {
            if let Some(room) = Self::for_call(gate) {
                return Ok(room);
            }
            if let Some(turn) = turn(gate).await? {
                return Ok(Self {
                    line: None,
                    _turn: Some(turn),
                });
            }
        }
    }

    /// The same, when there is.
    pub(crate) async fn wait_for_session(on: &Connection) -> Result<Self, CallError> {
        loop {
            if let Some(room) = Self::for_session(on) {
                return Ok(room);
            }
            let line = on.line();
            if let Some(turn) = turn(line.gate()).await? {
                return Ok(Self {
                    line: Some(line),
                    _turn: Some(turn),
                });
            }
        }
    }
}

/// Whether a call need not wait. One that is part of a call being served does not while the peer has calls
/// here: it may be what the peer waits for, and both would wait until their deadlines.
fn lets_in(gate: &Gate) -> bool {
    gate.is_open() || (gate.serves() && binding_span::current().is_call())
}

/// Waits for a turn. `None`: everybody was sent away, look again.
async fn turn(gate: &Gate) -> Result<Option<Turn>, CallError> {
    match gate.line_up() {
        Some(turn) => Ok(turn.await.ok()),
        None => Err(CallError::Overloaded(
            "too many calls wait for room on this connection".into(),
        )),
    }
}
