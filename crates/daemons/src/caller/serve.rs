//! `caller serve`: passes calls on to callees, and owns their spans.

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{DENIED_PREFIXES, Policy, PolicyConfig, Rename};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use js_rpc::{Address, ConnectOptions, Forward, Listener, Proxy, RpcLimits, Server};

use crate::cli::{self, Switch, exit_codes};
use crate::exit::Failure;
use crate::listen::{self, Endpoint};
use crate::signals::Signals;
use crate::telemetry::{TailTo, Telemetry};

/// The command line of `caller serve`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub struct ServeArgs {
    /// Where to listen: unix:/path, host:port; may be repeated
    ///
    /// An address may be followed by `,binding=NAME`: then every CONNECT on it means that binding,
    /// whatever name it carries. In the variable, several are separated by `;`.
    #[arg(
        long,
        value_name = "ADDR[,binding=NAME]",
        required = true,
        env = "BINDING_SPAN_LISTEN",
        value_delimiter = ';'
    )]
    listen: Vec<Endpoint>,

    /// Pass the binding NAME on to a callee; may be repeated
    ///
    /// Behind `#` stands the name that the callee has for it, if it is another one; it may be
    /// `service#Entrypoint`. In the variable, several are separated by `;`.
    #[arg(
        long,
        value_name = "NAME=ADDR[#REMOTE]",
        required = true,
        env = "BINDING_SPAN_BIND",
        value_delimiter = ';',
        value_parser = bound
    )]
    bind: Vec<Bound>,

    /// Append tail events, as JSON lines, to a file or to stderr
    #[arg(long, value_name = "FILE|stderr", env = "BINDING_SPAN_TAIL")]
    tail: Option<TailTo>,

    /// Which names a callee may give to spans
    ///
    /// A pattern may contain `*` for any text and `?` for one character. Each binding may have 200
    /// distinct names; further ones are dropped.
    #[arg(
        long,
        value_name = "any|off|PATTERN,...",
        default_value = "any",
        env = "BINDING_SPAN_RENAME",
        value_parser = rename
    )]
    rename: Rename,

    /// Whether attributes from a callee count
    #[arg(
        long,
        value_name = "on|off",
        default_value = "on",
        env = "BINDING_SPAN_ATTRIBUTES"
    )]
    attributes: Switch,

    /// Drop attributes whose keys begin with this; may be repeated
    ///
    /// Besides `service.`, `telemetry.`, `otel.`, `rpc.`, `jsrpc.`, `binding_span.` and `span.name`,
    /// which describe the caller or the protocol and are always dropped.
    #[arg(
        long,
        value_name = "PREFIX",
        env = "BINDING_SPAN_DENY",
        value_delimiter = ','
    )]
    deny: Vec<String>,

    /// What goes on to whoever called: the enrichment that counted here, or none
    #[arg(
        long,
        value_name = "accepted|none",
        default_value = "accepted",
        env = "BINDING_SPAN_FORWARD",
        hide_possible_values = true
    )]
    forward: ForwardArg,

    /// How long a call may take
    #[arg(long, value_name = "TIME", default_value = "30s", env = "BINDING_SPAN_DEADLINE", value_parser = cli::deadline)]
    deadline: Duration,

    /// How long calls in flight may take to finish when stopping
    #[arg(long, value_name = "TIME", default_value = "10s", env = "BINDING_SPAN_DRAIN", value_parser = cli::duration)]
    drain: Duration,

    /// Listen on addresses that other machines can reach, without encryption
    #[arg(long, env = "BINDING_SPAN_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ForwardArg {
    Accepted,
    None,
}

fn bound(text: &str) -> Result<Bound, String> {
    let (name, rest) = cli::named(text, "NAME=ADDR, for instance DB=unix:/run/callee.sock")?;
    let (address, remote) = rest.split_once('#').unwrap_or((rest, name));
    if remote.is_empty() {
        return Err("behind # there is no name; write NAME=ADDR#REMOTE or NAME=ADDR".into());
    }
    let address = address.parse();
    Ok(Bound {
        name: name.to_owned(),
        address: address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?,
        remote: remote.to_owned(),
    })
}

fn rename(text: &str) -> Result<Rename, String> {
    Ok(match text {
        "off" => Rename::Off,
        "any" => Rename::Any,
        patterns => {
            let patterns: Vec<String> = patterns.split(',').map(str::to_owned).collect();
            if patterns.iter().any(String::is_empty) {
                return Err(
                    "an empty pattern matches nothing; write any, off or PATTERN,...".into(),
                );
            }
            Rename::Matching(patterns)
        }
    })
}

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
    /// How far the callee of each binding is trusted.
    pub policy: PolicyConfig,
    /// What of an enrichment goes on.
    pub forward: Forward,
    /// How long a call may take.
    pub deadline: Duration,
    /// How long calls in flight may take to finish when it stops.
    pub drain: Duration,
}

impl From<ServeArgs> for Config {
    fn from(args: ServeArgs) -> Self {
        let denied = DENIED_PREFIXES.map(String::from).into_iter();
        Self {
            bindings: args.bind,
            tail: args.tail,
            policy: PolicyConfig {
                rename: args.rename,
                attributes: args.attributes.0,
                // An empty prefix would be every key.
                denied_prefixes: denied
                    .chain(args.deny)
                    .filter(|prefix| !prefix.is_empty())
                    .collect(),
                ..PolicyConfig::default()
            },
            forward: match args.forward {
                ForwardArg::Accepted => Forward::Accepted,
                ForwardArg::None => Forward::Nothing,
            },
            deadline: args.deadline,
            drain: args.drain,
        }
    }
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
    let telemetry = Telemetry::new().tail(config.tail.as_ref())?;
    let listeners = listen::bind(&endpoints, &names, insecure).await?;
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

const EXAMPLES: &str = "\
Examples:
  caller serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock --tail stderr
  caller serve --listen unix:/run/caller.sock --bind DB=127.0.0.1:7400 --rename 'd1.*' --deny db.

Then: caller call --connect unix:/run/caller.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
More with --help.";

const LONG: &str = concat!(
    "\
Examples:
  Pass one binding on, and write down its spans:
    caller serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock --tail ./tail.jsonl

  The callee calls it `shop`; only names that begin with `d1.` count, and no `db.` attributes:
    caller serve --listen 127.0.0.1:7401 --bind DB=127.0.0.1:7400#shop --rename 'd1.*' --deny db.

  Trust a callee with nothing, and tell those who call here nothing:
    caller serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock \\
                 --rename off --attributes off --forward none

A ready caller says so on stderr, in a line for each listener. It connects to a callee when a call
needs it, and again after the connection was lost; it never sends a call twice. SIGTERM and SIGINT
let the calls in flight finish within --drain and remove the sockets; a second signal ends it at once.
RUST_LOG sets what is logged.

",
    exit_codes!()
);
