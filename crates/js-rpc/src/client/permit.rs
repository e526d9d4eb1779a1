//! Permits: leave for a call to go out, at once while there is room on its connection, else when it is its turn.

use std::rc::Rc;

use crate::client::connection::Connection;
use crate::client::line::Line;
use crate::network::{Gate, Need, Sending, Turn};
use crate::wire::Wire;
use crate::{CallError, ClientId};

/// Leave to send one call. Drop it when the call is sent.
#[derive(Default)]
pub(crate) struct Permit {
    /// Where a session is to be opened, and how.
    pub(super) line: Option<(Rc<Line>, Wire)>,
    _sending: Option<Sending>,
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

/// Who wants to send, and how many bytes.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub(super) client: ClientId,
    pub(super) bytes: usize,
}

impl Permit {
    /// For a call of something that is there already.
    pub(super) fn for_call(gate: &Rc<Gate>, ask: Ask) -> Option<Self> {
        let need = need(Wire::OneMessage, false, ask.bytes);
        admits(gate, ask.client, need).then(|| Self::new(gate, ask.client, None))
    }

    /// The same, when there is room.
    pub(super) async fn wait_for_call(gate: &Rc<Gate>, ask: Ask) -> Result<Self, CallError> {
        let need = need(Wire::OneMessage, false, ask.bytes);
        loop {
            if admits(gate, ask.client, need) {
                return Ok(Self::new(gate, ask.client, None));
            }
            if let Some(turn) = turn(gate, ask.client, need).await? {
                return Ok(Self::new(gate, ask.client, Some(turn)));
            }
        }
    }

    /// For a call that opens a session, if it is known how the peer is called.
    pub(super) fn for_session(on: &Connection, ask: Ask) -> Option<Self> {
        let line = on.line();
        let wire = line.wire()?;
        let admitted = admits(line.gate(), ask.client, need(wire, true, ask.bytes));
        admitted.then(|| Self::on_line(line, wire, ask.client, None))
    }

    /// The same, when there is room and that is known.
    pub(super) async fn wait_for_session(on: &Connection, ask: Ask) -> Result<Self, CallError> {
        loop {
            let line = on.line();
            let wire = match line.wire() {
                Some(wire) => wire,
                None => line.ask_wire().await?,
            };
            let need = need(wire, true, ask.bytes);
            if admits(line.gate(), ask.client, need) {
                return Ok(Self::on_line(line, wire, ask.client, None));
            }
            if let Some(turn) = turn(line.gate(), ask.client, need).await? {
                return Ok(Self::on_line(line, wire, ask.client, Some(turn)));
            }
        }
    }

    fn new(gate: &Rc<Gate>, client: ClientId, turn: Option<Turn>) -> Self {
        Self {
            line: None,
            _sending: gate.sending(client),
            _turn: turn,
        }
    }

    fn on_line(line: Rc<Line>, wire: Wire, client: ClientId, turn: Option<Turn>) -> Self {
        let mut permit = Self::new(line.gate(), client, turn);
        permit.line = Some((line, wire));
        permit
    }
}

/// Whether a call need not wait. One that is part of a call being served does not while the peer has calls
/// here: it may be what the peer waits for, and both would wait until their deadlines.
fn admits(gate: &Gate, client: ClientId, need: Need) -> bool {
    gate.is_open(client, need) || (gate.serves() && binding_span::current().is_call())
}

/// Waits for a turn. `None`: everybody was sent away, look again.
async fn turn(gate: &Rc<Gate>, client: ClientId, need: Need) -> Result<Option<Turn>, CallError> {
    match gate.line_up(client, need) {
        Some(turn) => Ok(turn.await.ok()),
        None => Err(CallError::Overloaded(
            "too many calls wait for room on this connection".into(),
        )),
    }
}
