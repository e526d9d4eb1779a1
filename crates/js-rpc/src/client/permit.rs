//! Permits: leave for a call to go out, at once while there is room on its connection, else when it is its turn.

use std::rc::Rc;

use crate::CallError;
use crate::client::connection::Connection;
use crate::client::line::Line;
use crate::network::{Gate, Need, Turn};
use crate::wire::Wire;

/// Leave to send one call. Drop it when the call is sent.
#[derive(Default)]
pub(crate) struct Permit {
    /// Where a session is to be opened, and how.
    pub(super) line: Option<(Rc<Line>, Wire)>,
    _turn: Option<Turn>,
}

/// What a call needs that travels like that.
const fn need(wire: Wire, opens: bool, bytes: usize) -> Need {
    let questions = match (wire, opens) {
        // The event, the session, the call.
        (Wire::ThreeCalls, true) => 3,
        _ => 1,
    };
    Need { questions, bytes }
}

impl Permit {
    /// For a call of something that is there already.
    pub(super) fn for_call(gate: &Gate, bytes: usize) -> Option<Self> {
        admits(gate, need(Wire::OneMessage, false, bytes)).then(Self::default)
    }

    /// The same, when there is room.
    pub(super) async fn wait_for_call(gate: &Gate, bytes: usize) -> Result<Self, CallError> {
        let need = need(Wire::OneMessage, false, bytes);
        loop {
            if admits(gate, need) {
                return Ok(Self::default());
            }
            if let Some(turn) = turn(gate, need).await? {
                return Ok(Self {
                    line: None,
                    _turn: Some(turn),
                });
            }
        }
    }

    /// For a call that opens a session, if it is known how the peer is called.
    pub(super) fn for_session(on: &Connection, bytes: usize) -> Option<Self> {
        let line = on.line();
        let wire = line.wire()?;
        admits(line.gate(), need(wire, true, bytes)).then_some(Self {
            line: Some((line, wire)),
            _turn: None,
        })
    }

    /// The same, when there is room and that is known.
    pub(super) async fn wait_for_session(on: &Connection, bytes: usize) -> Result<Self, CallError> {
        loop {
            let line = on.line();
            let wire = match line.wire() {
                Some(wire) => wire,
                None => line.ask_wire().await?,
            };
            let need = need(wire, true, bytes);
            if admits(line.gate(), need) {
                return Ok(Self {
                    line: Some((line, wire)),
                    _turn: None,
                });
            }
            if let Some(turn) = turn(line.gate(), need).await? {
                return Ok(Self {
                    line: Some((line, wire)),
                    _turn: Some(turn),
                });
            }
        }
    }
}

/// Whether a call need not wait. One that is part of a call being served does not while the peer has calls
/// here: it may be what the peer waits for, and both would wait until their deadlines.
fn admits(gate: &Gate, need: Need) -> bool {
    gate.is_open(need) || (gate.serves() && binding_span::current().is_call())
}

/// Waits for a turn. `None`: everybody was sent away, look again.
async fn turn(gate: &Gate, need: Need) -> Result<Option<Turn>, CallError> {
    match gate.line_up(need) {
        Some(turn) => Ok(turn.await.ok()),
        None => Err(CallError::Overloaded(
            "too many calls wait for room on this connection".into(),
        )),
    }
}
