//! The admin port of both daemons: metrics, whether they are alive and ready, and whatever else is
//! registered as a `Page`.
//!
//! It has a thread and a runtime of its own. So it can say that the thread that handles calls hangs, and
//! whoever scrapes, however slowly or often, takes nothing from calls but what a core can do.

mod args;
mod health;
mod pages;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use binding_span::SpanSink;
use js_rpc::{AcceptStats, Acceptor, Address, Listener, NetworkStats, Quota, RpcLimits};
use tokio::sync::watch;

use self::health::{Health, Phase};
use self::pages::Pages;
use crate::exit::Failure;
use crate::http::{self, HttpLimits, LongReaders, gate::Hosts};
use crate::kinds::Meters;
use crate::metrics::{Doors, Links, Metrics, catalog};
use crate::runtime;
use crate::{listen, log};

pub(crate) use args::AdminAt;
pub use args::{AdminArgs, AdminConfig};
pub(crate) use pages::Page;

/// Connections at a time, besides those of calls and of long readers: few need to know, and each costs a
/// descriptor. The oldest makes room for one more, so that a probe is always answered.
const CONNECTIONS: usize = 32;

const LIMITS: HttpLimits = HttpLimits {
    head: Duration::from_secs(10),
    head_bytes: 16 * 1024,
    stall: Duration::from_secs(10),
    grace: Duration::from_millis(500),
    most: Some(CONNECTIONS),
};

/// The admin port, or none. It ends when it is dropped.
#[derive(Debug)]
pub struct Admin(Option<Running>);

#[derive(Debug)]
struct Running {
    program: &'static str,
    config: AdminConfig,
    health: Health,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    ended: Option<blocking::Receiver<()>>,
}

impl Admin {
    /// What a daemon needs to be watched, if there is an admin port; its server counts into `network`.
    /// On the thread on which this is called calls are handled.
    pub fn new(
        program: &'static str,
        config: Option<&AdminConfig>,
        network: &NetworkStats,
    ) -> Self {
        Self(config.cloned().map(|config| {
            let (health, metrics) = (Health::new(), Metrics::new(program, network));
            let phase = health.clone();
            metrics.add(&catalog::READY, &[], move || {
                u64::from(phase.phase() == Phase::Ready)
            });
            log::count_into(&metrics);
            Running {
                program,
                config,
                health,
                metrics,
                stop: watch::Sender::new(false),
                ended: None,
            }
        }))
    }

    /// Listens and answers, with these pages besides those of every daemon. A daemon that is not told
    /// otherwise is starting.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot listen there, or other machines could reach it and nobody said
    /// that they may; [`Failure::Unavailable`] when there can be no thread for it.
    pub(crate) fn start(&mut self, more: Vec<Page>) -> Result<(), Failure> {
        match &mut self.0 {
            Some(running) => running.start(more),
            None => Ok(()),
        }
    }

    /// What counts calls, if anything does.
    pub(crate) fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.0.as_ref().map(|running| &running.metrics)
    }

    pub(crate) fn sink(&self) -> Option<Arc<dyn SpanSink>> {
        Some(Arc::clone(self.metrics()?) as Arc<dyn SpanSink>)
    }

    /// Where listeners count.
    pub(crate) fn doors(&self) -> Doors {
        let doors = self.metrics().map(|metrics| metrics.doors.clone());
        doors.unwrap_or_default()
    }

    /// How bindings that are served are doing, for whoever asks.
    pub(crate) fn meters(&self) -> Meters {
        let meters = self.metrics().map(|metrics| metrics.meters.clone());
        meters.unwrap_or_else(|| Meters::new(false))
    }

    /// Where the state of bindings is shown.
    pub(crate) fn links(&self) -> Links {
        let links = self.metrics().map(|metrics| metrics.links.clone());
        links.unwrap_or_default()
    }

    /// From now on calls are taken.
    pub(crate) fn ready(&self) {
        self.phase(Phase::Ready);
    }

    /// Completes with `shutdown`; from then on no more calls are taken.
    pub(crate) async fn until(&self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.phase(Phase::Draining);
    }

    fn phase(&self, phase: Phase) {
        if let Some(running) = &self.0 {
            running.health.set(phase);
        }
    }
}

impl Running {
    fn start(&mut self, more: Vec<Page>) -> Result<(), Failure> {
        let pages = (pages::common(&self.health, &self.metrics), more);
        let (started, is_started) = blocking::channel();
        let (ending, ended) = blocking::channel();
        let (config, stopped) = (self.config.clone(), self.stop.subscribe());
        let accepts = self.metrics.doors.admin.clone();
        let run = move || {
            let serving = runtime::block_on(serve(config, pages, accepts, stopped, &started));
            if let Err(failure) = serving {
                // Nobody waits for it any more if it had begun.
                let _ = started.send(Err(failure));
            }
            let _ = ending.send(());
        };
        let thread = std::thread::Builder::new().name("admin".into());
        thread.spawn(run).map_err(|error| {
            Failure::Unavailable(format!("cannot start a thread for the admin port: {error}"))
        })?;
        let listening = is_started
            .recv()
            .unwrap_or_else(|_| Err(Failure::Unavailable("the admin port did not start".into())))?;
        self.ended = Some(ended);
        for (address, paths) in listening {
            self.announce(&address, &paths);
        }
        Ok(())
    }

    fn announce(&self, address: &Address, paths: &str) {
        let line = format!("admin port at {address}: GET {paths}");
        log::say(self.program, tracing::Level::INFO, &line);
    }
}

/// What is on its way is finished, for a short time; then the socket's file is gone.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(ended) = &self.ended {
            let _ = ended.recv_timeout(LIMITS.grace * 2);
        }
    }
}

/// Where it listens, and what there is to ask for.
type Started = blocking::Sender<Result<Vec<(Address, String)>, Failure>>;

/// Tells where it listens and what it has, and answers until it is stopped.
async fn serve(
    config: AdminConfig,
    (common, more): (Vec<Page>, Vec<Page>),
    accepts: AcceptStats,
    stopped: watch::Receiver<bool>,
    started: &Started,
) -> Result<(), Failure> {
    let of_metrics = common.len();
    let all: Rc<Vec<Page>> = Rc::new(common.into_iter().chain(more).collect());
    // Those who read for long are counted over all ports.
    let readers = LongReaders::default();
    let (mut ports, mut listening) = (Vec::new(), Vec::new());
    for at in &config.at {
        let (listener, hosts) = bind(&config, &at.address).await?;
        let pages = Pages {
            hosts,
            shown: if at.metrics_only {
                of_metrics
            } else {
                all.len()
            },
            all: Rc::clone(&all),
            readers: readers.clone(),
        };
        listening.push((listener.address().clone(), pages.paths()));
        ports.push((listener, pages));
    }
    let _ = started.send(Ok(listening));
    // They share the number of connections.
    let quota = quota();
    let serving = ports.into_iter().map(|(listener, pages)| {
        let acceptor = Acceptor::new(listener, quota.clone(), accepts.clone());
        http::serve(acceptor, Rc::new(pages), LIMITS, stopped.clone())
    });
    futures::future::join_all(serving).await;
    Ok(())
}

async fn bind(config: &AdminConfig, address: &Address) -> Result<(Listener, Hosts), Failure> {
    let listener = Listener::bind_with(address, &config.admission.options).await?;
    listen::allow(&listener, &config.admission)?;
    let hosts = Hosts {
        named: config.hosts.clone(),
        addresses: listen::is_public(listener.address()),
        option: "--admin-host",
    };
    Ok((listener, hosts))
}

/// Some more than there may be: those that make room need a moment.
fn quota() -> Quota {
    let most = (CONNECTIONS + pages::READERS) * 2;
    Quota::new(&RpcLimits {
        connections: most,
        connections_per_peer: most,
        connections_reserved: 0,
        ..RpcLimits::default()
    })
}
