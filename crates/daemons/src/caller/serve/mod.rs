//! `caller serve`: passes calls on to callees, and owns their spans.

mod args;

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Policy, PolicyConfig};
use js_rpc::{Address, ConnectOptions, Forward, Listener, Proxy, RpcLimits, Server};

use crate::cli;
use crate::exit::Failure;
use crate::listen::{self, Endpoint};
use crate::signals::Signals;
use crate::tail_from::TailTaker;
use crate::telemetry::{TailPeer, TailTo, Telemetry};

pub use args::ServeArgs;

/// A binding and where its calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The name that it has here.
    pub name: String,
    /// Where its callee is.
    pub address: Address,
    /// The name that it has there.
    pub remote: String,
}

/// What a caller passes on, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bindings; none twice.
    pub bindings: Vec<Bound>,
    /// Where tail events go.
    pub tail: Option<TailTo>,
    /// To which peer they go besides.
    pub tail_to: Option<TailPeer>,
    /// As which service the tail events of others are taken.
    pub tail_from: Option<String>,
    /// How far the callee of each binding is trusted.
    pub policy: PolicyConfig,
    /// What of an enrichment goes on.
    pub forward: Forward,
    /// How long a call may take.
    pub deadline: Duration,
    /// How long calls in flight may take to finish when it stops.
    pub drain: Duration,
}

pub(super) async fn from_command_line(args: ServeArgs) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let (endpoints, insecure) = (args.listen.clone(), args.insecure);
    let config = Config::from(args);
    let names: Vec<&str> = config.bindings.iter().map(|b| b.name.as_str()).collect();
    if let Some(name) = cli::twice(names.iter().copied()) {
        let reason = format!("--bind names the binding {name:?} twice; give each its own name");
        return Err(Failure::Usage(reason));
    }
    if let Some(name) = config
        .tail_from
        .as_deref()
        .filter(|name| names.contains(name))
    {
        let reason = format!("--tail-from and --bind both use {name:?}; give each its own name");
        return Err(Failure::Usage(reason));
    }
    let telemetry = Telemetry::new().tail(config.tail.as_ref())?;
    let telemetry = telemetry.tail_to(config.tail_to.as_ref())?;
    let mut served = names;
    served.extend(config.tail_from.as_deref());
    let listeners = listen::bind(&endpoints, &served, insecure).await?;
    announce(&endpoints, &listeners, &config);
    run(config, telemetry, listeners, signals.shutdown()).await
}

/// Passes calls on until `shutdown` completes and the calls in flight are done.
///
/// # Errors
/// None at present: what fails, fails for one call.
pub async fn run(
    config: Config,
    telemetry: Telemetry,
    listeners: Vec<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let limits = RpcLimits {
        call: config.deadline,
        drain: config.drain,
        ..RpcLimits::default()
    };
    let server = Server::new().sinks(telemetry.sinks()).limits(limits);
    let server = config.bindings.iter().fold(server, |server, bound| {
        server.proxy(&bound.name, proxy(bound, &config))
    });
    let server = match &config.tail_from {
        Some(name) => server.tail(name, TailTaker(telemetry.readers())),
        None => server,
    };
    let abandoned = server.serve(listeners, shutdown).await;
    if abandoned > 0 {
        let drain = humantime::format_duration(config.drain);
        tracing::warn!("gave up {abandoned} calls that were not done within {drain}");
    }
    telemetry.finish();
    Ok(())
}

/// Each binding has a policy of its own: it counts that binding's names.
fn proxy(bound: &Bound, config: &Config) -> Proxy {
    Proxy::new(
        bound.address.clone(),
        &bound.remote,
        ConnectOptions::default(),
    )
    .policy(Arc::new(Policy::new(config.policy.clone())))
    .forward(config.forward)
    .deadline(config.deadline)
}

fn announce(endpoints: &[Endpoint], listeners: &[Listener], config: &Config) {
    let passed: Vec<String> = config.bindings.iter().map(Bound::describe).collect();
    let passed = passed.join(", ");
    for (endpoint, listener) in endpoints.iter().zip(listeners) {
        let at = listen::describe(endpoint, listener);
        let line = format!("caller: listening on {at}, passing on {passed}");
        let _ = writeln!(std::io::stderr(), "{}", tail::escape(&line));
    }
}

impl Bound {
    fn describe(&self) -> String {
        match self.name == self.remote {
            true => format!("{} to {}", self.name, self.address),
            false => format!("{} to {} of {}", self.name, self.remote, self.address),
        }
    }
}
