//! The worker processes of one kind, those that write or those that read, and the calls that wait for one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use js_rpc::ClientId;
use tokio::sync::oneshot;

use super::fair::{Bounds, Turns};
use super::process::{NoWorker, Process, WorkerProgram};
use super::protocol::{Opening, Order, Why};
use super::slot::{Job, Running, Slot};
use super::state::Phase;
use super::status::{Status, WhyReplaced};
use crate::d1::error::QueryError;

/// Between two looks at the calls that run and wait.
const LOOK: Duration = Duration::from_millis(10);
/// How long a call may take to end once it was told to give way, before its worker is killed.
const GIVE_WAY: Duration = Duration::from_millis(50);
/// The same for one that was cancelled or whose time is up.
const END: Duration = Duration::from_millis(300);
/// The same for one that is being committed, or whose answer is being read.
const COMMIT: Duration = Duration::from_secs(10);
/// Between two attempts to start a worker where the file cannot be opened.
const AGAIN: Duration = Duration::from_secs(1);
/// Attempts to start one that ended before it had opened the file: somebody killed it, say.
const ATTEMPTS: u32 = 3;
/// After which a worker that is not needed ends.
const IDLE: Duration = Duration::from_secs(60);

/// A call that waits for a worker.
struct Waiter {
    job: Job,
    slot: oneshot::Sender<Result<Slot, QueryError>>,
}

/// Workers of one kind.
pub(super) struct Lane {
    me: Weak<Self>,
    opening: RefCell<Opening>,
    program: WorkerProgram,
    most: usize,
    turns: RefCell<Turns<ClientId, Waiter>>,
    /// The one that was used last is used next.
    idle: RefCell<Vec<Rc<Process>>>,
    running: RefCell<Vec<Rc<Running>>>,
    /// Those that are starting included.
    processes: Cell<usize>,
    starting: Cell<usize>,
    failed: RefCell<Option<(NoWorker, Instant)>>,
    /// Workers that ended before they had opened the file, in a row.
    ended: Cell<u32>,
    watched: Cell<bool>,
    closed: Cell<bool>,
    status: Arc<Status>,
}

impl Lane {
    pub(super) fn new(
        program: WorkerProgram,
        opening: Opening,
        most: usize,
        bounds: Bounds,
        status: Arc<Status>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            opening: RefCell::new(opening),
            program,
            most,
            turns: RefCell::new(Turns::new(bounds, most)),
            idle: RefCell::default(),
            running: RefCell::default(),
            processes: Cell::new(0),
            starting: Cell::new(0),
            failed: RefCell::default(),
            ended: Cell::new(0),
            watched: Cell::new(false),
            closed: Cell::new(false),
            status,
        })
    }

    /// Starts the first worker.
    pub(super) async fn open(&self) -> Result<(), NoWorker> {
        let opening = self.opening.borrow().clone();
        let process = Process::start(&self.program, opening).await?;
        // Only the first one may: a file that is gone later was removed.
        self.opening.borrow_mut().options.create = false;
        self.count(1);
        self.idle.borrow_mut().push(Rc::new(process));
        Ok(())
    }

    fn count(&self, change: isize) {
        let processes = self.processes.get().saturating_add_signed(change);
        self.processes.set(processes);
        match change > 0 {
            true => self
                .status
                .workers
                .fetch_add(change.unsigned_abs(), Relaxed),
            false => self
                .status
                .workers
                .fetch_sub(change.unsigned_abs(), Relaxed),
        };
    }

    /// A worker for a call, at once, if there is one.
    pub(super) fn try_start(&self, job: &Job) -> Option<Slot> {
        let (client, now) = (job.client, Instant::now());
        let mut turns = self.turns.borrow_mut();
        turns.seen(client, now);
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() || !turns.start(client, now) {
            return None;
        }
        let process = idle.pop()?;
        drop((turns, idle));
        Some(self.start(process, job))
    }

    /// Waits for a worker. `again`: the call gave way to others.
    pub(super) async fn start_in_turn(&self, job: Job, again: bool) -> Result<Slot, QueryError> {
        if self.closed.get() {
            return Err(QueryError::Closed);
        }
        let now = Instant::now();
        if let Some(why) = self.unusable(now) {
            return Err(why);
        }
        let (client, bytes) = (job.client, job.arguments.len());
        let (sender, slot) = oneshot::channel();
        let waiter = Waiter { job, slot: sender };
        let displaced = {
            let mut turns = self.turns.borrow_mut();
            match again {
                true => {
                    turns.push_again(client, waiter, bytes, now);
                    None
                }
                false => turns.push(client, waiter, bytes, now),
            }
        };
        if let Some(displaced) = displaced {
            // Whoever waited may have gone.
            let _ = displaced.slot.send(Err(QueryError::Overloaded));
        }
        self.dispatch();
        self.grow();
        self.watch();
        slot.await.unwrap_or(Err(QueryError::Closed))
    }

    fn unusable(&self, now: Instant) -> Option<QueryError> {
        let failed = self.failed.borrow();
        let (why, at) = failed.as_ref()?;
        let recent = now.saturating_duration_since(*at) < AGAIN;
        (self.processes.get() == 0 && recent)
            .then(|| QueryError::Unavailable(why.to_string().into()))
    }

    fn start(&self, process: Rc<Process>, job: &Job) -> Slot {
        let running = Rc::new(Running::new(process, job));
        self.running.borrow_mut().push(Rc::clone(&running));
        self.watch();
        Slot::begin(self.me.clone(), running, job)
    }

    /// Gives workers that are free to those whose turn it is.
    fn dispatch(&self) {
        loop {
            let now = Instant::now();
            let (waiter, process) = {
                let mut idle = self.idle.borrow_mut();
                if idle.is_empty() {
                    break;
                }
                let Some((client, waiter)) = self.turns.borrow_mut().pop(now) else {
                    break;
                };
                if waiter.slot.is_closed() {
                    let mut turns = self.turns.borrow_mut();
                    turns.end(client, Duration::ZERO, false, now);
                    continue;
                }
                let Some(process) = idle.pop() else { break };
                (waiter, process)
            };
            // Its order is sent from here, so that the worker need not wait for whoever waits.
            let slot = self.start(process, &waiter.job);
            // One that nobody takes is told to stop when it is dropped.
            let _ = waiter.slot.send(Ok(slot));
        }
        self.status
            .waiting(self.opening.borrow().writes)
            .store(self.turns.borrow().waiting(), Relaxed);
    }

    /// Starts one more worker if calls wait for it and it may be.
    fn grow(&self) {
        let (processes, starting) = (self.processes.get(), self.starting.get());
        let wanted = self
            .turns
            .borrow()
            .waiting()
            .max(usize::from(processes == 0));
        let failed = self.failed.borrow();
        let pause = failed.as_ref().is_some_and(|(_, at)| at.elapsed() < AGAIN);
        let enough = !self.idle.borrow().is_empty() || starting >= wanted;
        if self.closed.get() || enough || pause || processes >= self.most {
            return;
        }
        let Some(lane) = self.me.upgrade() else {
            return;
        };
        self.count(1);
        self.starting.set(starting + 1);
        tokio::task::spawn_local(async move {
            let opening = lane.opening.borrow().clone();
            let started = match lane.status.foreign_log() {
                Some(why) => Err(NoWorker::NotOpened(why)),
                None => Process::start(&lane.program, opening).await,
            };
            lane.starting.set(lane.starting.get() - 1);
            lane.started(started);
        });
    }

    fn started(&self, started: Result<Process, NoWorker>) {
        match started {
            Ok(process) => {
                self.failed.take();
                self.ended.set(0);
                if self.status.set_failing(None) {
                    tracing::info!(database = self.opening.borrow().name(), "can be used again");
                }
                self.idle.borrow_mut().push(Rc::new(process));
                self.dispatch();
            }
            Err(NoWorker::Ended(_)) if self.ended.get() + 1 < ATTEMPTS => {
                self.count(-1);
                self.ended.set(self.ended.get() + 1);
                self.grow();
            }
            Err(why) => {
                self.count(-1);
                self.ended.set(0);
                if self.status.set_failing(Some(why.to_string())) {
                    tracing::error!(
                        database = self.opening.borrow().name(),
                        "cannot be used: {why}"
                    );
                }
                let nobody = self.processes.get() == 0;
                let error = QueryError::Unavailable(why.to_string().into());
                self.failed.replace(Some((why, Instant::now())));
                if nobody {
                    self.refuse_all(&error);
                }
            }
        }
    }

    /// Nobody who waits will get a worker.
    fn refuse_all(&self, error: &QueryError) {
        for waiter in self.turns.borrow_mut().drain() {
            let _ = waiter.slot.send(Err(error.clone()));
        }
    }

    /// A call has ended, and its worker is free.
    pub(super) fn release(&self, running: &Rc<Running>, gave_way: bool) {
        self.ended(running, gave_way);
        let process = Rc::clone(&running.process);
        process.idle_since.set(Instant::now());
        let unused = {
            let mut idle = self.idle.borrow_mut();
            let unused = idle.first().is_some_and(|first| {
                let since = first.idle_since.get();
                since.elapsed() > IDLE
            });
            let unused = unused.then(|| idle.remove(0));
            idle.push(process);
            unused
        };
        if let Some(unused) = unused {
            self.retire(unused);
        }
        self.dispatch();
        if self.closed.get() {
            self.close();
        }
    }

    /// A call has ended with its worker.
    pub(super) fn lost(&self, running: &Rc<Running>, gave_way: bool) {
        self.ended(running, gave_way);
        self.count(-1);
        let why = match running.killed.get() {
            Some(_) if gave_way => WhyReplaced::GaveWay,
            Some(_) => WhyReplaced::Stuck,
            None => WhyReplaced::Ended,
        };
        self.status.replaced(why);
        self.grow();
        self.watch();
    }

    fn ended(&self, running: &Rc<Running>, gave_way: bool) {
        let now = Instant::now();
        let mut all = self.running.borrow_mut();
        all.retain(|other| !Rc::ptr_eq(other, running));
        let time = now.saturating_duration_since(running.since);
        let mut turns = self.turns.borrow_mut();
        turns.end(running.client, time, gave_way, now);
    }

    /// Looks at what runs until nothing does.
    fn watch(&self) {
        if self.watched.replace(true) {
            return;
        }
        let lane = self.me.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(lane) = lane.upgrade() else { return };
                if !lane.look() {
                    lane.watched.set(false);
                    return;
                }
            }
        });
    }

    /// Ends what runs for too long. Whether there is something to look at.
    fn look(&self) -> bool {
        let now = Instant::now();
        for running in self.running.borrow().iter() {
            if let Some(late) = running.late(now) {
                self.end_late(running, late);
            }
        }
        self.preempt(now);
        self.dispatch();
        self.grow();
        let busy = !self.running.borrow().is_empty() || self.turns.borrow().waiting() > 0;
        busy || (self.processes.get() == 0 && !self.closed.get())
    }

    /// A call that should have ended so long ago has not: its worker does not look, or cannot stop.
    fn end_late(&self, running: &Running, (late, patience): (Duration, Duration)) {
        let process = &running.process;
        let ending = process.is_reporting() || process.phase() != Phase::Running;
        if late < patience || (ending && late < COMMIT) || running.killed.get().is_some() {
            return;
        }
        running.killed.set(Some(late));
        process.kill();
        let opening = self.opening.borrow();
        tracing::warn!(
            database = opening.name(),
            pid = process.pid,
            "killed a worker whose call did not end for {} ms after it should have",
            late.as_millis()
        );
    }

    /// Has a call that took long give way to one that waits.
    fn preempt(&self, now: Instant) {
        if !self.idle.borrow().is_empty() || self.starting.get() > 0 {
            return;
        }
        let running = self.running.borrow();
        let candidates: Vec<_> = running
            .iter()
            .filter(|running| running.stop.get().is_none() && running.started.get())
            .collect();
        let since: Vec<_> = candidates
            .iter()
            .map(|running| (running.client, running.since))
            .collect();
        let overdue = self.turns.borrow().overdue(&since, now);
        if let Some(running) = overdue.and_then(|at| candidates.get(at)) {
            running.tell(Why::GiveWay, now);
        }
    }

    /// Replaces workers that are free: the file is not the one that they have open.
    pub(super) fn reopen(&self) {
        for process in self.idle.take() {
            self.retire(process);
        }
        self.grow();
        self.watch();
    }

    /// Lets a worker that is free end, which closes its file.
    fn retire(&self, process: Rc<Process>) {
        let lane = self.me.clone();
        tokio::task::spawn_local(async move {
            process.close().await;
            if let Some(lane) = lane.upgrade() {
                lane.count(-1);
                lane.grow();
            }
        });
    }

    /// Takes no more calls; the workers end, those at work when their calls do.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.refuse_all(&QueryError::Closed);
        for process in self.idle.take() {
            self.retire(process);
        }
    }

    /// Completes when no worker is left.
    pub(super) async fn closed(&self) {
        while self.processes.get() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Running {
    /// How long ago the call should have ended, and how long that may be.
    fn late(&self, now: Instant) -> Option<(Duration, Duration)> {
        let since = |at: Instant| now.checked_duration_since(at);
        if let Some((why, at)) = self.stop.get() {
            let patience = match why {
                Why::GiveWay => GIVE_WAY,
                Why::Cancelled => END,
            };
            return Some((since(at)?, patience));
        }
        Some((since(self.deadline)?, END))
    }

    /// Tells the worker to end the call.
    pub(super) fn tell(&self, why: Why, now: Instant) {
        self.stop.set(Some((why, now)));
        let call = self.number;
        if !self.process.interrupt(&Order::Stop { call, why }) {
            // It does not even read.
            self.killed.set(Some(Duration::ZERO));
            self.process.kill();
        }
    }
}
