//! Tail events to a peer: a Worker's `tailStream()` handler behind a workerd's debug port, or another
//! caller. A thread of its own sends them; the feed's bounded queue stands between, so that a receiver that
//! is slow, hangs or is not there costs events and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use binding_span::InvocationId;
use js_rpc::{Address, CallError, ConnectOptions, Connection, RpcLimits, TailStream, Trust};
use tail::{Event, EventKind, EventSink, QueueGauge, QueueLimits, Subscription};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// What may have been taken from the queue and not be reported yet, in units of [`UNIT`] bytes; an event is one at
/// least.
const BUFFERED: usize = 1024;
const UNIT: usize = 4096;
/// Invocations that are reported at a time; each is a session at the receiver.
const STREAMS: usize = 1024;
/// Events of one report.
const BATCH: usize = 64;
/// Invocations that the receiver declined and that have not ended, which are remembered.
const DECLINED: usize = 65_536;
/// How long a report may take before its stream is given up.
const REPORT: Duration = Duration::from_secs(10);
/// How long after a failed attempt to connect the next one is made.
const RETRY: Duration = Duration::from_secs(1);

/// Sends tail events to a peer, from a thread of its own, until it is dropped.
pub struct TailSender {
    inlet: Arc<Inlet>,
    commands: mpsc::UnboundedSender<Command>,
    counts: Arc<Counts>,
    gauge: QueueGauge,
}

/// Events that were taken from the queue and not delivered.
#[derive(Default)]
pub(crate) struct Counts {
    /// Although the receiver wanted them, as far as is known.
    pub(crate) lost: AtomicU64,
    /// Since the receiver asked for no more of their invocation.
    pub(crate) declined: AtomicU64,
}

enum Command {
    /// Report what is there, then say so.
    Flush(blocking::Sender<()>),
}

impl TailSender {
    /// Starts a thread that sends to the service `name` at an address; `name` may be
    /// `service#Entrypoint`. It connects when there is something to send, and again after the connection
    /// was lost.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(address: Address, name: String, limits: QueueLimits) -> std::io::Result<Self> {
        Self::start_with(address, name, Trust::default(), limits)
    }

    /// The same, to a peer that is trusted otherwise.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start_with(
        address: Address,
        name: String,
        trust: Trust,
        limits: QueueLimits,
    ) -> std::io::Result<Self> {
        let (queue, events) = tail::queue(limits);
        let gauge = events.gauge();
        let inlet = Arc::new(Inlet {
            queue,
            filled: Notify::new(),
        });
        let (commands, orders) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let sender = Sending {
            events,
            inlet: Arc::clone(&inlet),
            counts: Arc::clone(&counts),
            room: Arc::new(Semaphore::new(BUFFERED)),
        };
        let run = move || {
            let link = Link::new(address, name, trust);
            let running = crate::runtime::block_on(async {
                sender.run(link, orders).await;
                Ok(())
            });
            if let Err(error) = running {
                tracing::error!(%error, "no tail events are delivered");
            }
        };
        let thread = std::thread::Builder::new().name("tail-to".into());
        thread.spawn(run)?;
        Ok(Self {
            inlet,
            commands,
            counts,
            gauge,
        })
    }

    /// What takes the events.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.inlet.clone()
    }

    /// Waits until what was there is reported; whether that was in time.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, is_done) = blocking::channel();
        let sent = self.commands.send(Command::Flush(done));
        sent.is_ok() && is_done.recv_timeout(timeout).is_ok()
    }

    /// How the queue in front of it is doing.
    pub(crate) fn gauge(&self) -> QueueGauge {
        self.gauge.clone()
    }

    /// What [`lost`](Self::lost) and [`declined`](Self::declined) say, to be read when the sender is elsewhere.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Events that were taken from the queue and could not be delivered. What the queue had no room for is
    /// told to the receiver, in its stream.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Events that the receiver asked not to get: a Worker whose `tailStream()` returned no handler gets an
    /// invocation's onset and nothing else.
    pub fn declined(&self) -> u64 {
        self.counts.declined.load(Ordering::Relaxed)
    }
}

/// Where events come in: into the queue, and then the thread is woken.
struct Inlet {
    queue: Arc<dyn EventSink>,
    filled: Notify,
}

impl EventSink for Inlet {
    fn event(&self, event: &Arc<Event>) -> bool {
        let more = self.queue.event(event);
        self.filled.notify_one();
        more
    }
}

/// An event on its way, and the room that it takes until it is reported.
type Held = (Arc<Event>, OwnedSemaphorePermit);

/// An invocation that is being reported.
struct Open {
    since: Instant,
    events: mpsc::UnboundedSender<Held>,
    /// Set when the receiver asks for no more.
    declined: Rc<Cell<bool>>,
}

/// The invocations that are on their way.
#[derive(Default)]
struct Streams {
    open: HashMap<InvocationId, Open>,
    /// Those that the receiver wants no more of, until they end.
    declined: HashSet<InvocationId>,
}

impl Streams {
    /// Forgets those whose reporting has ended.
    fn tidy(&mut self) {
        let declined = &mut self.declined;
        self.open.retain(|id, stream| {
            let ended = stream.events.is_closed();
            if ended && stream.declined.get() && declined.len() < DECLINED {
                declined.insert(*id);
            }
            !ended
        });
    }

    /// Gives an event to its stream, if there is one. Whether the receiver declined it.
    fn give(&mut self, event: Held) -> Result<(), bool> {
        let id = event.0.invocation_id;
        let last = matches!(event.0.event, EventKind::Outcome { .. });
        let given = match self.open.get(&id) {
            Some(stream) => stream.events.send(event).map_err(|_| stream.declined.get()),
            None => Err(self.declined.contains(&id)),
        };
        if last {
            self.open.remove(&id);
            self.declined.remove(&id);
        }
        given
    }
}

struct Sending {
    events: Subscription,
    inlet: Arc<Inlet>,
    counts: Arc<Counts>,
    room: Arc<Semaphore>,
}

impl Sending {
    async fn run(self, link: Link, mut commands: mpsc::UnboundedReceiver<Command>) {
        let link = Rc::new(link);
        let mut streams = Streams::default();
        loop {
            tokio::select! {
                () = self.inlet.filled.notified() => self.forward(&mut streams, &link).await,
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Flush(done)) => {
                        self.forward(&mut streams, &link).await;
                        self.reported().await;
                        // Who asked may have given up.
                        let _ = done.send(());
                    }
                },
            }
        }
    }

    /// Gives every event that is there to its stream. Waits for room: meanwhile the queue fills, and what
    /// does not fit there is counted for its invocation.
    async fn forward(&self, streams: &mut Streams, link: &Rc<Link>) {
        while let Some(event) = self.events.try_recv() {
            let units = (1 + event.size() / UNIT).min(BUFFERED) as u32;
            let Ok(room) = Arc::clone(&self.room).acquire_many_owned(units).await else {
                return;
            };
            let id = event.invocation_id;
            if matches!(event.event, EventKind::Onset(_)) {
                streams.tidy();
                if streams.open.len() >= STREAMS {
                    // The end of some never came: their source died, or it was lost.
                    let oldest = streams
                        .open
                        .iter()
                        .min_by_key(|(_, s)| s.since)
                        .map(|(id, _)| *id);
                    if let Some(id) = oldest {
                        streams.open.remove(&id);
                    }
                }
                let (events, queued) = mpsc::unbounded_channel();
                let declined = Rc::default();
                let reporting = Reporting {
                    link: Rc::clone(link),
                    counts: Arc::clone(&self.counts),
                    declined: Rc::clone(&declined),
                };
                tokio::task::spawn_local(reporting.run(queued));
                let open = Open {
                    since: Instant::now(),
                    events,
                    declined,
                };
                streams.open.insert(id, open);
            }
            match streams.give((event, room)) {
                Ok(()) => continue,
                Err(true) => &self.counts.declined,
                Err(false) => &self.counts.lost,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Completes when nothing that was taken from the queue is on its way.
    async fn reported(&self) {
        drop(self.room.acquire_many(BUFFERED as u32).await);
    }
}

/// One invocation that is being reported.
struct Reporting {
    link: Rc<Link>,
    counts: Arc<Counts>,
    declined: Rc<Cell<bool>>,
}

impl Reporting {
    async fn run(self, mut events: mpsc::UnboundedReceiver<Held>) {
        let ended = self.link.report_all(&mut events, &self.counts.lost).await;
        let rest = match ended {
            Ok(wanted) => {
                self.declined.set(!wanted);
                &self.counts.declined
            }
            Err(error) => {
                self.link.complain(&error);
                &self.counts.lost
            }
        };
        // Of a stream that was declined or given up.
        events.close();
        while events.try_recv().is_ok() {
            rest.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The connection to the receiver, made when it is needed.
struct Link {
    address: Address,
    name: String,
    trust: Trust,
    connection: RefCell<Option<Connection>>,
    connecting: Mutex<()>,
    failed: Cell<Option<Instant>>,
    complained: Cell<bool>,
    suspected: Cell<bool>,
}

impl Link {
    fn new(address: Address, name: String, trust: Trust) -> Self {
        Self {
            address,
            name,
            trust,
            connection: RefCell::default(),
            connecting: Mutex::default(),
            failed: Cell::default(),
            complained: Cell::default(),
            suspected: Cell::default(),
        }
    }

    /// Reports what comes. Returns whether the receiver wanted all of it.
    async fn report_all(
        &self,
        events: &mut mpsc::UnboundedReceiver<Held>,
        lost: &AtomicU64,
    ) -> Result<bool, CallError> {
        let mut batch: Vec<Held> = Vec::new();
        // The onset goes alone.
        let mut most = 1;
        let mut stream = None;
        while events.recv_many(&mut batch, most).await > 0 {
            most = BATCH;
            let sent = match &stream {
                Some(stream) => send(stream, &batch).await,
                None => match self.open().await {
                    Ok(opened) => send(stream.insert(opened), &batch).await,
                    Err(error) => Err(error),
                },
            };
            if sent.is_err() {
                lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            let more = sent?;
            self.complained.set(false);
            if !more {
                self.suspect(&batch);
                return Ok(false);
            }
            batch.clear();
        }
        Ok(true)
    }

    async fn open(&self) -> Result<TailStream, CallError> {
        // One attempt at a time; whoever waited finds its result.
        let _turn = self.connecting.lock().await;
        let current = self.connection.borrow().clone();
        if let Some(connection) = current.filter(|connection| !connection.is_lost()) {
            return Ok(connection.tail_stream(&self.name));
        }
        if self.failed.get().is_some_and(|at| at.elapsed() < RETRY) {
            return Err(CallError::Disconnected("it could not be reached".into()));
        }
        let limits = RpcLimits {
            call: REPORT,
            ..RpcLimits::default()
        };
        let options = ConnectOptions {
            limits,
            trust: self.trust.clone(),
            ..ConnectOptions::default()
        };
        let connected = Connection::connect(&self.address, options).await;
        let failed = connected.is_err().then(Instant::now);
        self.failed.set(failed);
        let connection = connected?;
        let stream = connection.tail_stream(&self.name);
        self.connection.replace(Some(connection));
        Ok(stream)
    }

    /// Warns, once, of a receiver that ended a stream which had not ended, where it got a `spanUpdate`: it may not
    /// know that.
    fn suspect(&self, batch: &[Held]) {
        let has = |is: fn(&EventKind) -> bool| batch.iter().any(|(event, _)| is(&event.event));
        let ended = has(|event| matches!(event, EventKind::Outcome { .. }));
        let update = has(|event| matches!(event, EventKind::SpanUpdate { .. }));
        if update && !ended && !self.suspected.replace(true) {
            tracing::warn!(
                address = %self.address,
                "{} ended a stream of tail events at a spanUpdate; if it runs in a workerd that does not know it, \
                 choose --tail-rename attribute",
                self.name
            );
        }
    }

    /// Warns, once until it works again.
    fn complain(&self, error: &CallError) {
        if !self.complained.replace(true) {
            tracing::warn!(%error, address = %self.address, "cannot deliver tail events to {}; they are lost until it works again", self.name);
        }
    }
}

async fn send(stream: &TailStream, batch: &[Held]) -> Result<bool, CallError> {
    let known: Vec<&Event> = batch
        .iter()
        .map(|(event, _)| &**event)
        .filter(|event| event.event != EventKind::Unknown)
        .collect();
    let count = known.len() as u32;
    let sent = stream.report(count, |mut list| {
        for (i, event) in known.iter().enumerate() {
            tail::wire::write_event(event, list.reborrow().get(i as u32));
        }
    });
    sent.await
}
