//! A worker that a call has, from the order to the report.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use js_rpc::ClientId;

use super::lane::Lane;
use super::process::{Lost, Process};
use super::protocol::{Answered, Call, Frame, Order, Report, Tags, Why};
use super::state::Phase;

/// A call that runs, as those see it who watch over it.
pub(super) struct Running {
    pub(super) client: ClientId,
    pub(super) process: Rc<Process>,
    pub(super) since: Instant,
    pub(super) deadline: Cell<Option<Instant>>,
    pub(super) number: Cell<u32>,
    /// Whether the worker has all of the order.
    pub(super) started: Cell<bool>,
    /// What it was told, and when.
    pub(super) stop: Cell<Option<(Why, Instant)>>,
    /// The worker was killed, so long after the call should have ended.
    pub(super) killed: Cell<Option<Duration>>,
}

impl Running {
    pub(super) fn new(client: ClientId, process: Rc<Process>, deadline: Option<Instant>) -> Self {
        Self {
            client,
            process,
            since: Instant::now(),
            deadline: Cell::new(deadline),
            number: Cell::new(0),
            started: Cell::new(false),
            stop: Cell::new(None),
            killed: Cell::new(None),
        }
    }
}

/// A worker for one call. Dropped before the call ended, it is told to stop, and free again when it has.
pub(super) struct Slot {
    lane: Weak<Lane>,
    running: Rc<Running>,
    used: Used,
}

#[derive(PartialEq, Eq)]
enum Used {
    Not,
    /// The order is being sent.
    Sending,
    Running,
    Done,
}

/// What came of a call.
pub(super) enum Ended {
    Answered(Answered, Vec<u8>),
    /// Its arguments are not what the method takes; the error.
    Refused(Vec<u8>),
    NeedsWriter,
    /// Others waited; it left nothing behind.
    GaveWay,
    /// The worker did not end it in time, and was killed. It left nothing behind.
    TimeIsUp,
    /// The worker is gone.
    Lost {
        how: String,
        phase: Phase,
    },
}

impl Slot {
    pub(super) const fn new(lane: Weak<Lane>, running: Rc<Running>) -> Self {
        Self {
            lane,
            running,
            used: Used::Not,
        }
    }

    /// Runs a call until `deadline`; `describes` hears what it is about.
    pub(super) async fn run(
        mut self,
        call: Call,
        arguments: &[u8],
        deadline: Instant,
        describes: impl Fn(Tags),
    ) -> Ended {
        let running = Rc::clone(&self.running);
        running.deadline.set(Some(deadline));
        let number = running.process.number();
        running.number.set(number);
        self.used = Used::Sending;
        let order = Order::Call(Call { number, ..call });
        let sent = running.process.send(&order, arguments).await;
        self.used = Used::Running;
        running.started.set(true);
        let ended = match sent {
            Ok(()) => reported(&running, describes).await,
            Err(lost) => Err(lost),
        };
        self.used = Used::Done;
        let Some(lane) = self.lane.upgrade() else {
            return Ended::Lost {
                how: "was closed".to_owned(),
                phase: running.process.phase(),
            };
        };
        match ended {
            Ok(Ended::Answered(answered, body)) if answered.last => {
                lane.lost(&running, false);
                Ended::Answered(answered, body)
            }
            Ok(ended) => {
                lane.release(&running, matches!(ended, Ended::GaveWay));
                ended
            }
            Err(Lost) => lost(&lane, &running).await,
        }
    }
}

async fn reported(running: &Running, describes: impl Fn(Tags)) -> Result<Ended, Lost> {
    loop {
        let Frame { head, body } = running.process.next().await?;
        return Ok(match head {
            Report::Describes { about, .. } => {
                describes(about);
                continue;
            }
            Report::Answered(answered) => Ended::Answered(answered, body),
            Report::Refused { .. } => Ended::Refused(body),
            Report::NeedsWriter { .. } => Ended::NeedsWriter,
            Report::GaveWay { .. } => Ended::GaveWay,
            Report::Opened | Report::NotOpened(_) => return Err(Lost),
        });
    }
}

/// The worker is gone: by us, or by itself.
async fn lost(lane: &Lane, running: &Rc<Running>) -> Ended {
    let how = running.process.end().await;
    let phase = running.process.phase();
    let nothing_written = phase == Phase::Running;
    let gives_way = matches!(running.stop.get(), Some((Why::GiveWay, _)));
    let killed = running.killed.get().is_some();
    lane.lost(running, killed && gives_way);
    match (killed && nothing_written, gives_way) {
        (true, true) => Ended::GaveWay,
        (true, false) => Ended::TimeIsUp,
        (false, _) => Ended::Lost { how, phase },
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(lane) = self.lane.upgrade() else {
            return;
        };
        let running = Rc::clone(&self.running);
        match self.used {
            Used::Done => {}
            Used::Not => lane.release(&running, false),
            Used::Sending | Used::Running => {
                let whole = self.used == Used::Running;
                tokio::task::spawn_local(recover(lane, running, whole));
            }
        }
    }
}

/// Waits for a call to end for which nobody waits.
async fn recover(lane: Rc<Lane>, running: Rc<Running>, whole: bool) {
    match whole {
        true => running.tell(Why::Cancelled, Instant::now()),
        // Half an order cannot be taken back.
        false => {
            running.killed.set(Some(Duration::ZERO));
            running.process.kill();
        }
    }
    match reported(&running, drop).await {
        Ok(Ended::Answered(answered, _)) if answered.last => lane.lost(&running, false),
        Ok(_) => lane.release(&running, false),
        Err(Lost) => {
            running.process.end().await;
            lane.lost(&running, false);
        }
    }
}
