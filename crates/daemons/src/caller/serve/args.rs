//! The command line of `caller serve`.

use std::time::Duration;

use binding_span::{DENIED_PREFIXES, PolicyConfig, Rename};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use js_rpc::Forward;

use super::{Bound, Config};
use crate::cli::{self, Switch, exit_codes};
use crate::listen::Endpoint;
use crate::telemetry::{TailPeer, TailTo};

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
    pub(super) listen: Vec<Endpoint>,

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

    /// Deliver tail events to a Worker's tailStream(), or to another caller
    ///
    /// ADDR is the debug port of a workerd, SERVICE a Worker in it, or `service#Entrypoint`. A receiver
    /// that is slow or not there costs tail events and nothing else.
    #[arg(long, value_name = "ADDR#SERVICE", env = "BINDING_SPAN_TAIL_TO")]
    tail_to: Option<TailPeer>,

    /// Be the streaming tail NAME of others, whose events go where ours go
    ///
    /// The `streamingTails` of a workerd name an external service that points here, with NAME as its
    /// `capnpConnectHost`.
    #[arg(long, value_name = "NAME", env = "BINDING_SPAN_TAIL_FROM")]
    tail_from: Option<String>,

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
    pub(super) insecure: bool,
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

impl From<ServeArgs> for Config {
    fn from(args: ServeArgs) -> Self {
        let denied = DENIED_PREFIXES.map(String::from).into_iter();
        Self {
            bindings: args.bind,
            tail: args.tail,
            tail_to: args.tail_to,
            tail_from: args.tail_from,
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

  Show the spans to a Worker's tailStream(), through its workerd's debug port:
    caller serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock \\
                 --tail-to unix:/run/workerd-debug.sock#tail

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
