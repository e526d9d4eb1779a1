//! `caller serve`: passes calls on to callees, and owns their spans.

mod args;
pub(crate) mod http;
mod policy;
mod reload;
pub(crate) mod settings;

use std::ffi::OsString;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Policy, PolicyConfig};
use clap::CommandFactory;
use js_rpc::{
    Address, ConnectOptions, Forward, Listener, NetworkStats, Proxy, Quota, RpcLimits, Server,
    Trust,
};
use tail::wire::Headers;
use tokio::sync::watch;

use super::CallerArgs;
use crate::admin::{Admin, AdminConfig};
use crate::config::{self, Places, Plan, Tables};
use crate::dev_registry::{DevPlan, DevRegistry};
use crate::door::Admission;
use crate::exit::{self, Failure};
use crate::listen::{self, Endpoint, Place};
use crate::log::{self, LogArgs};
use crate::otel;
use crate::reload::{Origin, Reloads};
use crate::signals::{Hangup, Shutdown};
use crate::systemd::sockets::Sockets;
use crate::tail_args::{LiveLimits, RenameArg};
use crate::telemetry::{TailPeer, TailTo, Telemetry};
use crate::{runtime, systemd};

pub use args::ServeArgs;
pub(crate) use args::USAGE;
pub use http::{Front, HttpConfig};

/// A binding, where its calls go, and how far its callee is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The name that it has here.
    pub name: String,
    /// Where its callee is.
    pub address: Address,
    /// The name that it has there.
    pub remote: String,
    /// The name to open the connection with, by `CONNECT`, where an http socket of a workerd has a
    /// `capnpConnectHost`.
    pub connect_name: Option<String>,
    /// What of the callee's enrichment counts.
    pub policy: PolicyConfig,
    /// What of it goes on to whoever called.
    pub forward: Forward,
    /// How long a call may take.
    pub deadline: Duration,
}

/// What a caller passes on, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Endpoint>,
    /// Who may connect there.
    pub admission: Admission,
    /// How it is found in local development.
    pub dev: Option<DevPlan>,
    /// The admin port.
    pub admin: Option<AdminConfig>,
    /// The bindings; none twice.
    pub bindings: Vec<Bound>,
    /// Where tail events go.
    pub tail: Option<TailTo>,
    /// What is kept of them for live readers.
    pub live: LiveLimits,
    /// To which peer they go besides.
    pub tail_to: Option<TailPeer>,
    /// As which service the tail events of others are taken.
    pub tail_from: Option<String>,
    /// Which headers of requests they keep.
    pub tail_from_headers: Headers,
    /// How a rename is written to tails.
    pub rename: RenameArg,
    /// What is exported of spans.
    pub otel: otel::Plan,
    /// Where calls are taken as HTTP.
    pub http: Option<HttpConfig>,
    /// How long things may take and how many there may be.
    pub limits: RpcLimits,
    /// Counts what its connections to callees do; those of callers count in the limits.
    pub to_callees: NetworkStats,
    /// Whom it connects to.
    pub trust: Trust,
    /// What it logs, and how.
    pub log: LogArgs,
}

impl Config {
    /// The names that can be asked for.
    fn served(&self) -> Vec<&str> {
        let names = self.bindings.iter().map(|bound| bound.name.as_str());
        names.chain(self.tail_from.as_deref()).collect()
    }

    /// Refuses to send tail events to where this process takes them.
    fn check_circle(&self, places: &Places) -> Result<(), Failure> {
        let (Some(to), Some(from)) = (&self.tail_to, &self.tail_from) else {
            return Ok(());
        };
        let own = |at: &&Endpoint| match &at.place {
            Place::Address(address) => {
                at.binding.as_ref().is_none_or(|only| only == from)
                    && listen::reaches(&to.address, address)
            }
            Place::Systemd { .. } => false,
        };
        match self.listen.iter().find(own) {
            Some(at) if to.service == *from => {
                let failure = Failure::Config(format!(
                    "--tail-to {}#{from} is this caller's own --tail-from on {}: its events would come back \
                     for ever; send them to another process, or leave one of the two out",
                    to.address, at.place
                ));
                Err(places.blame(&["tail-to"], Some("tail-to"), failure))
            }
            _ => Ok(()),
        }
    }

    fn describe(&self) -> String {
        let passed: Vec<String> = self.bindings.iter().map(Bound::describe).collect();
        format!("passing on {}", passed.join(", "))
    }
}

/// What the file may contain besides the options.
const PLAN: Plan = Plan {
    tables: &[Tables::plain("bind")],
    // A binding's own keys win over them, and options over both.
    apart: config::names::<policy::PolicyArgs>,
};

/// Reads what `line`, the command line, and the variables and the file say.
fn configured(line: &[OsString]) -> Result<Configured, Failure> {
    let loaded = config::load::<ServeArgs>(&CallerArgs::command(), &["serve"], line, PLAN)?;
    let check = loaded.args.check_config;
    let origin = Origin {
        line: line.to_vec(),
        has_file: loaded.file.is_some(),
        values: loaded.values.clone(),
    };
    let config = Config::new(loaded)?;
    Ok(Configured {
        config,
        check,
        origin,
    })
}

/// Reads a text as if it were the file, as far as nothing has to be opened.
pub(crate) fn check_text(text: &str) -> Result<(), Failure> {
    let loaded = config::load_text(&CallerArgs::command(), &["serve"], text, PLAN)?;
    settings::check_text(&loaded)
}

/// What command line, variables and file say, and whether it is only to be checked.
struct Configured {
    config: Config,
    check: bool,
    origin: Origin,
}

/// Serves as the command line says, of which `said` is how to log.
pub(super) fn start(said: &LogArgs, sockets: Sockets) -> Result<(), Failure> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let configured = configured(&line);
    // What is wrong with the file is said as the command line says.
    let log = configured.as_ref().map_or(said, |all| &all.config.log);
    log.start("caller")?;
    let configured = configured?;
    match configured.check {
        true => {
            configured.config.otel.check()?;
            exit::usable(&configured.config.describe())
        }
        false => runtime::block_on(serve(configured, sockets)),
    }
}

async fn serve(configured: Configured, mut sockets: Sockets) -> Result<(), Failure> {
    let Configured { config, origin, .. } = configured;
    let shutdown = Shutdown::install("caller", config.limits.drain, Hangup::of(origin.has_file))?;
    let telemetry = Telemetry::new()
        .renames(config.rename)
        .tail(config.tail.as_ref())?;
    let telemetry = telemetry.tail_to(config.tail_to.as_ref(), &config.trust)?;
    let telemetry = telemetry.export(&config.otel)?;
    let mut admin = Admin::new(
        "caller",
        config.admin.as_ref(),
        &config.limits.network.stats,
    );
    let telemetry = telemetry
        .live("caller", config.live, &admin)
        .watched(&admin);
    admin.start(telemetry.pages())?;
    let mut listeners = listen::bind(
        &config.listen,
        &config.served(),
        &config.admission,
        &mut sockets,
    )
    .await?;
    let front = match &config.http {
        Some(http) => Some(Front::bind(http, &config).await?),
        None => None,
    };
    let plan = config.dev.as_ref();
    let dev = DevRegistry::enter(plan, "caller", &mut listeners, &config.admission).await?;
    admin.ready();
    announce(&listeners, front.as_ref(), &config);
    tokio::task::spawn_local(systemd::watchdog());
    let hangups = shutdown.hangups();
    let reloads = Reloads { hangups, origin };
    let stop = shutdown.requested();
    let listening = Listening {
        listeners,
        front,
        dev,
    };
    run(config, telemetry, admin, listening, reloads, stop).await
}

/// Where calls come in.
struct Listening {
    listeners: Vec<Listener>,
    front: Option<Front>,
    dev: DevRegistry,
}

/// Passes calls on until `shutdown` completes and the calls in flight are done.
///
/// # Errors
/// None at present: what fails, fails for one call.
async fn run(
    config: Config,
    telemetry: Telemetry,
    admin: Admin,
    listening: Listening,
    reloads: Reloads,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let Listening {
        listeners,
        front,
        dev,
    } = listening;
    let (limits, telemetry) = (config.limits.clone(), Rc::new(telemetry));
    let quota = Quota::new(&config.limits);
    let server = Server::new()
        .sinks(telemetry.sinks())
        .limits(config.limits.clone())
        .quota(quota.clone())
        .count_accepts(&admin.doors().rpc);
    if let Some(metrics) = admin.metrics() {
        metrics.network("client", &config.to_callees);
    }
    let server = config.bindings.iter().fold(server, |server, bound| {
        server.proxy(&bound.name, proxy(bound, &config))
    });
    let server = match &config.tail_from {
        Some(name) => {
            let taker = telemetry.taker(config.tail_from_headers);
            if let Some(metrics) = admin.metrics() {
                taker.count_into(metrics);
            }
            server.tail(name, taker)
        }
        None => server,
    };
    let bindings = server.bindings();
    let serving = reload::Serving {
        bindings: bindings.clone(),
        links: admin.links(),
        dev: dev.clone(),
        config,
    };
    serving.show();
    let watching = crate::reload::watch(reloads, Rc::clone(&telemetry), serving);
    let watching = tokio::task::spawn_local(watching);
    let (stop, stopped) = watch::channel(false);
    let front = front.map(|front| {
        let serving = front.serve(bindings, quota, admin.doors().http, stopped);
        tokio::task::spawn_local(serving)
    });
    let shutdown = async {
        admin.until(dev.until(shutdown)).await;
        let _ = stop.send(true);
    };
    let abandoned = server.serve(listeners, shutdown).await;
    watching.abort();
    if let Some(front) = front {
        // The answers to the calls that were let finish are still to be written.
        let _ = tokio::time::timeout(http::ANSWERS, front).await;
    }
    if abandoned > 0 {
        let drain = humantime::format_duration(limits.drain);
        tracing::warn!("gave up {abandoned} calls that were not done within {drain}");
    }
    telemetry.finish().await;
    Ok(())
}

/// Each binding has a policy of its own: it counts that binding's names.
fn proxy(bound: &Bound, config: &Config) -> Proxy {
    let mut limits = config.limits.clone();
    limits.network.stats = config.to_callees.clone();
    let options = ConnectOptions {
        connect: bound.connect_name.clone(),
        trust: config.trust.clone(),
        limits,
        ..ConnectOptions::default()
    };
    Proxy::new(bound.address.clone(), &bound.remote, options)
        .policy(Arc::new(Policy::new(bound.policy.clone())))
        .forward(bound.forward)
        .deadline(bound.deadline)
}

fn announce(listeners: &[Listener], front: Option<&Front>, config: &Config) {
    let passed = config.describe();
    let rpc = listeners.iter().map(listen::describe);
    let http =
        front.map(|front| format!("{} (HTTP, POST /v1/call/BINDING/METHOD)", front.address()));
    for at in rpc.chain(http) {
        let line = format!("listening on {at}, {passed}");
        log::say("caller", tracing::Level::INFO, &line);
    }
    systemd::ready(&passed);
}

impl Bound {
    fn describe(&self) -> String {
        match self.name == self.remote {
            true => format!("{} to {}", self.name, self.address),
            false => format!("{} to {} of {}", self.name, self.remote, self.address),
        }
    }
}
