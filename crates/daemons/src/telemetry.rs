//! Where spans go: tail events to a file, to the standard error stream or to a peer, spans to OpenTelemetry.
//! Log lines are [`log`](crate::log)'s.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use binding_span::{Sinks, SpanSink};
use js_rpc::{Address, Trust};
use tail::wire::Headers;
use tail::{
    EventSink, Feed, JsonLines, LateLimits, LateNames, QueueLimits, Recorder, Rotation,
    WithoutUpdates,
};
use tokio::task::spawn_blocking;

use crate::admin::{Admin, Page};
use crate::exit::Failure;
use crate::live_tail::LiveTail;
use crate::metrics::{Metrics, catalog};
use crate::otel::{Isolated, Otel, Plan};
use crate::tail_args::{LiveLimits, RenameArg};
use crate::tail_from::{ButTails, Passed, TailTaker, Tails};
use crate::tail_to::TailSender;

/// Where tail events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailTo {
    /// The standard error stream, between the log lines.
    Stderr,
    /// Appended to this file.
    File(PathBuf),
    /// Appended to this file, which is put aside when it is full.
    Rotated(PathBuf, Rotation),
}

impl FromStr for TailTo {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("write a file's path, or stderr"),
            "stderr" => Ok(Self::Stderr),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// A peer that takes tail events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPeer {
    /// Where it is: a workerd's debug port, or another caller.
    pub address: Address,
    /// The service there, or `service#Entrypoint`.
    pub service: String,
}

impl FromStr for TailPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write ADDR#SERVICE, for instance unix:/run/workerd.sock#tail";
        let (address, service) = text.split_once('#').ok_or(shape)?;
        if service.is_empty() {
            return Err(shape.to_owned());
        }
        let address = address.parse();
        Ok(Self {
            address: address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?,
            service: service.to_owned(),
        })
    }
}

/// The sinks of a program, and what has to be finished when it ends.
#[derive(Default)]
pub struct Telemetry {
    sinks: Vec<Arc<dyn SpanSink>>,
    feed: Option<Arc<Feed>>,
    events: Vec<Arc<dyn EventSink>>,
    lines: Option<Arc<JsonLines>>,
    sender: Option<Arc<TailSender>>,
    otel: Option<Arc<Otel>>,
    live: Option<LiveTail>,
    rename: RenameArg,
    late: Vec<Arc<LateNames>>,
    tails: Arc<Tails>,
}

impl Telemetry {
    /// No sinks: nobody looks at spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes renames in this way; to be said before where events go.
    #[must_use]
    pub fn renames(mut self, rename: RenameArg) -> Self {
        self.rename = rename;
        self
    }

    /// Writes tail events as JSON lines, if somebody said where to.
    ///
    /// # Errors
    /// [`Failure::Config`] when the file cannot be opened.
    pub fn tail(self, to: Option<&TailTo>) -> Result<Self, Failure> {
        Ok(match to {
            None => self,
            Some(TailTo::Stderr) => self.lines(JsonLines::stderr()),
            Some(TailTo::File(path)) => {
                self.lines(JsonLines::file(path).map_err(|error| unusable(path, &error))?)
            }
            Some(TailTo::Rotated(path, rotation)) => {
                let lines = JsonLines::rotating(path, *rotation);
                self.lines(lines.map_err(|error| unusable(path, &error))?)
            }
        })
    }

    /// Writes tail events as JSON lines.
    #[must_use]
    pub fn lines(mut self, lines: JsonLines) -> Self {
        let lines = Arc::new(lines);
        self.read_named(lines.clone());
        self.lines = Some(lines);
        self
    }

    /// Sends tail events to a peer, if somebody said to which.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when there can be no thread for it.
    pub fn tail_to(mut self, peer: Option<&TailPeer>, trust: &Trust) -> Result<Self, Failure> {
        let Some(TailPeer { address, service }) = peer.cloned() else {
            return Ok(self);
        };
        let sender =
            TailSender::start_with(address, service, trust.clone(), QueueLimits::default());
        let sender = sender.map_err(|error| {
            Failure::Unavailable(format!("cannot start a thread for tail events: {error}"))
        })?;
        let reader = ButTails {
            reader: sender.sink(),
            tails: Arc::clone(&self.tails),
        };
        self.read_named(Arc::new(reader));
        self.sender = Some(Arc::new(sender));
        Ok(self)
    }

    /// Exports spans by OTLP, if somebody asked for that. What is wrong with variables is logged.
    ///
    /// # Errors
    /// [`Failure::Config`] when an option asked for it and a certificate cannot be used.
    pub fn export(mut self, plan: &Plan) -> Result<Self, Failure> {
        plan.warn();
        if !plan.propagate {
            // First, so that it decides.
            let sampler = plan.export.as_ref().map(|settings| settings.sampler);
            self.sinks.insert(0, Arc::new(Isolated { sampler }));
        }
        let Some(settings) = &plan.export else {
            return Ok(self);
        };
        match Otel::start(settings) {
            Ok(otel) => {
                tracing::info!("exporting spans to {settings}");
                self.sinks.push(otel.sink());
                self.otel = Some(Arc::new(otel));
            }
            Err(reason) => plan.failed(&reason)?,
        }
        Ok(self)
    }

    /// Keeps recent tail events for whoever asks the admin port of `program` for them, if it has one.
    #[must_use]
    pub fn live(mut self, program: &'static str, limits: LiveLimits, admin: &Admin) -> Self {
        if admin.metrics().is_some() {
            let live = LiveTail::new(program, limits);
            if let Some(history) = live.history() {
                self.read(history.clone());
            }
            self.live = Some(live);
        }
        self
    }

    /// What the admin port shows of spans.
    pub(crate) fn pages(&self) -> Vec<Page> {
        self.live.iter().map(LiveTail::page).collect()
    }

    /// Adds a reader of tail events that may have to wait for names.
    fn read_named(&mut self, reader: Arc<dyn EventSink>) {
        if self.rename != RenameArg::Late {
            return self.read(reader);
        }
        let late = Arc::new(LateNames::new(reader, LateLimits::default()));
        self.late.push(Arc::clone(&late));
        self.read(late);
    }

    /// Adds a reader of tail events.
    fn read(&mut self, reader: Arc<dyn EventSink>) {
        let reader = match self.rename {
            // Those of other processes may have what our own have not.
            RenameArg::Attribute => Arc::new(WithoutUpdates::new(reader)),
            _ => reader,
        };
        let renames = self.rename.renames();
        let feed = self.feed.get_or_insert_with(|| {
            let feed = Arc::new(Feed::new().renames(renames));
            self.sinks.push(feed.clone());
            feed
        });
        feed.subscribe(reader.clone());
        self.events.push(reader);
    }

    /// Takes the tail events of other processes, for everything that reads our own, with these headers of requests.
    pub fn taker(&self, headers: Headers) -> TailTaker {
        let taker = TailTaker::new(self.events.clone()).headers(headers);
        match (&self.feed, &self.sender) {
            // Only what is sent on can come back.
            (Some(feed), Some(_)) => {
                let passed = Arc::new(Passed::default());
                feed.subscribe(passed.clone());
                taker.once(passed, Arc::clone(&self.tails))
            }
            _ => taker,
        }
    }

    /// Counts calls, and what the tail and the export lose, if there is an admin port to ask for it.
    #[must_use]
    pub fn watched(mut self, admin: &Admin) -> Self {
        self.sinks.extend(admin.sink());
        if let Some(metrics) = admin.metrics() {
            self.count(metrics);
        }
        self
    }

    fn count(&self, metrics: &Metrics) {
        let lost = |sink, reason| [("sink", sink), ("reason", reason)];
        if let Some(lines) = &self.lines {
            let [queued, slow, failed] = [(); 3].map(|()| Arc::clone(lines));
            metrics.add(&catalog::TAIL_QUEUED, &[("sink", "lines")], move || {
                queued.queued() as u64
            });
            let labels = lost("lines", "slow");
            metrics.add(&catalog::TAIL_LOST, &labels, move || slow.lost());
            let labels = lost("lines", "write_failed");
            metrics.add(&catalog::TAIL_LOST, &labels, move || failed.failed());
        }
        if let Some(sender) = &self.sender {
            let [queued, slow] = [(); 2].map(|()| sender.gauge());
            let [undelivered, declined] = [(); 2].map(|()| sender.counts());
            metrics.add(&catalog::TAIL_QUEUED, &[("sink", "peer")], move || {
                queued.queued() as u64
            });
            let labels = lost("peer", "slow");
            metrics.add(&catalog::TAIL_LOST, &labels, move || slow.lost());
            let labels = lost("peer", "undelivered");
            metrics.add(&catalog::TAIL_LOST, &labels, move || {
                undelivered.lost.load(Relaxed)
            });
            metrics.add(&catalog::TAIL_DECLINED, &[], move || {
                declined.declined.load(Relaxed)
            });
        }
        if let Some(history) = self.live.as_ref().and_then(LiveTail::history).cloned() {
            let labels = lost("live", "slow");
            metrics.add(&catalog::TAIL_LOST, &labels, move || history.stats().lost);
        }
        if let Some(otel) = &self.otel {
            otel.stats().count_into(metrics);
        }
        let late = self.late.clone();
        metrics.add(&catalog::TAIL_EARLY, &[], move || {
            late.iter().map(|late| late.opened_early()).sum()
        });
        if let Some(feed) = self.feed.clone() {
            metrics.add(&catalog::TAIL_EVICTED, &[], move || feed.stats().evicted);
        }
    }

    /// Keeps finished spans in memory.
    #[must_use]
    pub fn record(mut self, recorder: &Arc<Recorder>) -> Self {
        self.sinks.push(recorder.clone());
        self
    }

    /// What makers of spans report to.
    pub fn sinks(&self) -> Sinks {
        self.sinks.clone().into()
    }

    /// Opens the file of tail events by its path again, if there is one: somebody moved it away.
    pub fn reopen(&self) {
        if let Some(lines) = &self.lines {
            lines.reopen();
        }
    }

    /// Writes and exports what was reported and is still here, all of it at once and within a bounded time.
    /// The thread goes on meanwhile: a service manager still hears of it.
    pub async fn finish(&self) {
        let until = Instant::now() + FLUSH;
        self.late.iter().for_each(|late| late.flush());
        if let Some(otel) = &self.otel {
            otel.close(until);
        }
        if let Some(history) = self.live.as_ref().and_then(LiveTail::history) {
            history.close();
        }
        let (lines, sender, otel) = (self.lines.clone(), self.sender.clone(), self.otel.clone());
        let waiting = [
            lines.map(|lines| spawn_blocking(move || finish(lines))),
            sender.map(|sender| spawn_blocking(move || _ = sender.flush(FLUSH))),
            otel.map(|otel| spawn_blocking(move || otel.finish(until))),
        ];
        for waiting in waiting.into_iter().flatten() {
            // One that panicked has nothing more to write.
            let _ = waiting.await;
        }
    }
}

fn finish(lines: Arc<JsonLines>) {
    if !lines.flush(FLUSH) {
        // Dropped, it would wait as long again.
        std::mem::forget(lines);
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::Config(format!(
        "cannot write tail events to {}: {error}; choose a file that this user may write",
        path.display()
    ))
}

/// How long the end of a program waits for its tail: a file system that hangs must not hang us.
const FLUSH: Duration = Duration::from_secs(2);
