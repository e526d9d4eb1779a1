//! A worker that a call has, from the order to the report.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use js_rpc::ClientId;

use super::lane::Lane;
use super::process::{Lost, Process, Sending};
use super::protocol::{Answered, Call, Frame, Kind, Order, Report, Tags, Why, head};
use super::state::Phase;

/// A call that runs, as those see it who watch over it.
pub(super) struct Running {
    pub(super) client: ClientId,
    pub(super) process: Rc<Process>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    pub(super) number: u32,
    /// Whether the worker has all of the order.
    pub(super) started: Cell<bool>,
    /// What it was told, and when.
    pub(super) stop: Cell<Option<(Why, Instant)>>,
    /// The worker was killed, so long after the call should have ended.
    pub(super) killed: Cell<Option<Duration>>,
}

impl Running {
    pub(super) fn new(process: Rc<Process>, job: &Job) -> Self {
        Self {
            client: job.client,
            number: process.number(),
            process,
            since: Instant::now(),
            deadline: job.deadline,
            started: Cell::new(false),
            stop: Cell::new(None),
            killed: Cell::new(None),
        }
    }
}

/// A call that wants a worker.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) client: ClientId,
    pub(super) kind: Kind,
    pub(super) arguments: Rc<Vec<u8>>,
    /// When the call's time is up.
    pub(super) deadline: Instant,
    /// Whether the worker is to describe it.
    pub(super) describe: bool,
    /// What the database knows of earlier calls.
    pub(super) known: Rc<Known>,
}

/// What a database knows of the calls that it answered.
#[derive(Default)]
pub(super) struct Known {
    pub(super) bookmark: Cell<u64>,
    pub(super) last_row_id: Cell<i64>,
}

/// A worker that has a call. Dropped before the call ended, it is told to stop, and free again when it has.
pub(super) struct Slot {
    lane: Weak<Lane>,
    running: Rc<Running>,
    sending: Sending,
    done: bool,
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
    /// Gives the worker the call, as much of it as it takes at once.
    pub(super) fn begin(lane: Weak<Lane>, running: Rc<Running>, job: &Job) -> Self {
        let call = Call {
            number: running.number,
            kind: job.kind.clone(),
            time_left: job.deadline.saturating_duration_since(running.since),
            describe: job.describe,
            bookmark: job.known.bookmark.get(),
            last_row_id: job.known.last_row_id.get(),
        };
        let arguments = Rc::clone(&job.arguments);
        let head = head(&Order::Call(call), arguments.len());
        let mut slot = Self {
            lane,
            running,
            sending: Sending::new(head, arguments),
            done: false,
        };
        // A worker that is lost is found out about by who waits for its report.
        let sent = slot.running.process.try_send(&mut slot.sending);
        slot.running.started.set(matches!(sent, Ok(true)));
        slot
    }

    /// Waits for the call to end; `describes` hears what it is about.
    pub(super) async fn end(mut self, describes: impl Fn(Tags)) -> Ended {
        let running = Rc::clone(&self.running);
        let sent = running.process.send(&mut self.sending).await;
        running.started.set(true);
        let ended = match sent {
            Ok(()) => reported(&running, describes).await,
            Err(lost) => Err(lost),
        };
        self.done = true;
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
                let gave_way = matches!(ended, Ended::GaveWay);
                leave(&lane, &running, gave_way).await;
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

/// The call has ended: its worker is free, unless it was killed while its report was on its way.
async fn leave(lane: &Lane, running: &Rc<Running>, gave_way: bool) {
    if running.killed.get().is_some() {
        running.process.end().await;
        lane.lost(running, gave_way);
    } else {
        lane.release(running, gave_way);
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
        if self.done {
            return;
        }
        if let Some(lane) = self.lane.upgrade() {
            let running = Rc::clone(&self.running);
            let whole = self.sending.is_done();
            tokio::task::spawn_local(recover(lane, running, whole));
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
        Ok(_) => leave(&lane, &running, false).await,
        Err(Lost) => {
            running.process.end().await;
            lane.lost(&running, false);
        }
    }
}
