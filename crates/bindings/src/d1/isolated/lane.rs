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
use super::slot::{Running, Slot};
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
/// Between two attempts to start a worker where that fails.
const AGAIN: Duration = Duration::from_millis(200);
/// After which a worker that is not needed ends.
const IDLE: Duration = Duration::from_secs(60);

pub(super) type Waiter = oneshot::Sender<Result<Slot, QueryError>>;

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
        self.opening.borrow_mut().create = false;
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
    pub(super) fn try_acquire(&self, client: ClientId, deadline: Instant) -> Option<Slot> {
        let now = Instant::now();
        let mut turns = self.turns.borrow_mut();
        turns.seen(client, now);
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() || !turns.start(client, now) {
            return None;
        }
        let process = idle.pop()?;
        drop((turns, idle));
        Some(self.slot(client, process, Some(deadline)))
    }

    /// Waits for a worker. `again`: the call gave way to others.
    pub(super) async fn acquire(
        &self,
        client: ClientId,
        bytes: usize,
        again: bool,
    ) -> Result<Slot, QueryError> {
        if self.closed.get() {
            return Err(QueryError::Closed);
        }
        let now = Instant::now();
        if let Some(why) = self.unusable(now) {
            return Err(why);
        }
        let (waiter, slot) = oneshot::channel();
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
            let _ = displaced.send(Err(QueryError::Overloaded));
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

    fn slot(&self, client: ClientId, process: Rc<Process>, deadline: Option<Instant>) -> Slot {
        let running = Rc::new(Running::new(client, process, deadline));
        self.running.borrow_mut().push(Rc::clone(&running));
        self.watch();
        Slot::new(self.me.clone(), running)
    }

    /// Gives workers that are free to those whose turn it is.
    fn dispatch(&self) {
        loop {
            let now = Instant::now();
            let (client, waiter, process) = {
                let mut idle = self.idle.borrow_mut();
                if idle.is_empty() {
                    break;
                }
                let Some((client, waiter)) = self.turns.borrow_mut().pop(now) else {
                    break;
                };
                if waiter.is_closed() {
                    let mut turns = self.turns.borrow_mut();
                    turns.end(client, Duration::ZERO, false, now);
                    continue;
                }
                let Some(process) = idle.pop() else { break };
                (client, waiter, process)
            };
            // A slot that nobody takes comes back when it is dropped.
            let _ = waiter.send(Ok(self.slot(client, process, None)));
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
            let started = Process::start(&lane.program, opening).await;
            lane.starting.set(lane.starting.get() - 1);
            lane.started(started);
        });
    }

    fn started(&self, started: Result<Process, NoWorker>) {
        match started {
            Ok(process) => {
                self.failed.take();
                self.status.set_failing(None);
                self.idle.borrow_mut().push(Rc::new(process));
                self.dispatch();
            }
            Err(why) => {
                self.count(-1);
                self.status.set_failing(Some(why.to_string()));
                tracing::warn!(database = self.opening.borrow().name, "no worker: {why}");
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
            let _ = waiter.send(Err(error.clone()));
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
            self.count(-1);
            close(unused);
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
        let name = &self.opening.borrow().name;
        tracing::warn!(
            database = name,
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

    /// Takes no more calls; the workers end, those at work when their calls do.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.refuse_all(&QueryError::Closed);
        for process in self.idle.take() {
            self.count(-1);
            close(process);
        }
    }

    /// Completes when no worker is left.
    pub(super) async fn closed(&self) {
        while self.processes.get() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Lets a worker that is free end, which closes its file.
fn close(process: Rc<Process>) {
    if let Ok(process) = Rc::try_unwrap(process) {
        tokio::task::spawn_local(process.close());
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
        Some((since(self.deadline.get()?)?, END))
    }

    /// Tells the worker to end the call.
    pub(super) fn tell(&self, why: Why, now: Instant) {
        self.stop.set(Some((why, now)));
        let call = self.number.get();
        if !self.process.interrupt(&Order::Stop { call, why }) {
            // It does not even read.
            self.killed.set(Some(Duration::ZERO));
            self.process.kill();
        }
    }
}
