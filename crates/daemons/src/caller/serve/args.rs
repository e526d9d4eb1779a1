//! The command line of `caller serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use js_rpc::Address;
use tail::wire::Headers;

use super::policy::PolicyArgs;
use super::settings::{self, Target};
use crate::admin::AdminArgs;
use crate::cli::{self, exit_codes};
use crate::dev_registry::DevArgs;
use crate::door::{AdmitArgs, IdentityArgs, TrustArgs};
use crate::limits::LimitArgs;
use crate::listen::Endpoint;
use crate::log::LogArgs;
use crate::otel::OtlpArgs;
use crate::tail_args::TailArgs;
use crate::telemetry::TailPeer;

/// The command line of `caller serve`.
#[derive(Debug, Clone, Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES, after_long_help = LONG)]
#[command(mut_args(cli::in_help))]
pub struct ServeArgs {
    /// Read what the options do not say from a TOML file
    ///
    /// Its keys are the names of the options; besides, each binding has a table with settings of its own.
    /// An option wins over its variable, and both over the file, also over what it says of one binding;
    /// --bind replaces where a binding of the file goes, --deny adds to what the file denies.
    #[arg(long, value_name = "FILE", env = "BINDING_SPAN_CONFIG")]
    pub(super) config: Option<PathBuf>,

    /// Only say whether the options and the file can be used; exit with 0 or 78
    ///
    /// Certificates are read; sockets, and the tail's file, are not opened.
    #[arg(long)]
    pub(super) check_config: bool,

    /// Where to listen: unix:/path, host:port, tls:host:port, systemd; may be repeated
    ///
    /// An address may be followed by `,binding=NAME`: then nothing but that binding can be reached through
    /// it. Every CONNECT means NAME, whatever name it carries; to ask for another binding without CONNECT
    /// fails. `systemd` means the sockets that a service manager opened (LISTEN_FDS),
    /// `systemd:NAME` those that it calls so; TLS is spoken there with `,tls`. In the variable, several
    /// are separated by `;`.
    #[arg(
        long,
        value_name = "ADDR[,binding=NAME]",
        required_unless_present_any = ["config", "http", "dev_registry"],
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
        required_unless_present_any = ["config", "tail_from"],
        env = "BINDING_SPAN_BIND",
        value_delimiter = ';',
        value_parser = bind
    )]
    pub(super) bind: Vec<Target>,

    /// Take calls as HTTP as well: POST /v1/call/BINDING/METHOD with a JSON array of arguments
    ///
    /// ADDR is one of this machine, or unix:/path. The body has the arguments, the answer the result; the
    /// header `traceparent` names the span that the call belongs to. What a web page could send is
    /// refused: it must be application/json, without an Origin, for a Host that is known.
    #[arg(long, value_name = "ADDR", env = "BINDING_SPAN_HTTP", value_parser = settings::http)]
    pub(super) http: Option<Address>,

    /// A Host that HTTP requests may name, besides localhost and its addresses; may be repeated
    #[arg(long, value_name = "HOST", env = "BINDING_SPAN_HTTP_HOST", value_delimiter = ',', value_parser = cli::host)]
    pub(super) http_host: Vec<String>,

    /// Where tail events go.
    #[command(flatten)]
    pub(super) tail: TailArgs,

    /// Deliver tail events to a Worker's tailStream(), or to another caller
    ///
    /// ADDR is the debug port of a workerd, SERVICE a Worker in it, or `service#Entrypoint`. A receiver
    /// that is slow or not there costs tail events and nothing else.
    #[arg(long, value_name = "ADDR#SERVICE", env = "BINDING_SPAN_TAIL_TO")]
    pub(super) tail_to: Option<TailPeer>,

    /// Be the streaming tail NAME of others, whose events go where ours go
    ///
    /// The `streamingTails` of a workerd name an external service that points here, with NAME as its
    /// `capnpConnectHost`.
    #[arg(long, value_name = "NAME", env = "BINDING_SPAN_TAIL_FROM")]
    pub(super) tail_from: Option<String>,

    /// Which headers of requests are kept in those events: all, none, or all but the values of secrets
    ///
    /// Secrets are cookies and what has auth, key, token, secret or jwt in its name, also as a parameter of
    /// the URL, and a password there.
    #[arg(
        long,
        value_name = "redacted|all|none",
        value_enum,
        default_value_t = HeadersArg::Redacted,
        env = "BINDING_SPAN_TAIL_FROM_HEADERS",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub(super) tail_from_headers: HeadersArg,

    /// How far callees are trusted.
    #[command(flatten)]
    pub(super) policy: PolicyArgs,

    /// How long calls in flight may take to finish when stopping
    #[arg(long, value_name = "TIME", default_value = "10s", env = "BINDING_SPAN_DRAIN", value_parser = cli::duration)]
    pub(super) drain: Duration,

    /// Who finds it on this machine.
    #[command(flatten)]
    pub(super) dev: DevArgs,

    /// Who may connect, and how many.
    #[command(flatten)]
    pub(super) admit: AdmitArgs,

    /// What peers may make us hold, and how long things may take.
    #[command(flatten)]
    pub(super) limits: LimitArgs,

    /// Whom to connect to.
    #[command(flatten)]
    pub(super) peers: TrustArgs,

    /// Who we are.
    #[command(flatten)]
    pub(super) identity: IdentityArgs,

    /// What others may ask.
    #[command(flatten)]
    pub(super) admin: AdminArgs,

    /// Where spans go.
    #[command(flatten)]
    pub(super) otlp: OtlpArgs,

    /// What is logged, and how.
    #[command(flatten)]
    pub(in crate::caller) log: LogArgs,
}

/// Which headers of requests are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum HeadersArg {
    Redacted,
    All,
    None,
}

impl HeadersArg {
    pub(super) fn headers(self) -> Headers {
        match self {
            Self::Redacted => Headers::Redacted,
            Self::All => Headers::All,
            Self::None => Headers::None,
        }
    }
}

fn bind(text: &str) -> Result<Target, String> {
    let (name, rest) = cli::named(text, "NAME=ADDR, for instance DB=unix:/run/callee.sock")?;
    settings::target(name, rest)
}

pub(crate) const USAGE: &str = "\
caller serve [OPTIONS] --listen <ADDR[,binding=NAME]> --bind <NAME=ADDR[#REMOTE]>
       caller serve [OPTIONS] --http <ADDR> --bind <NAME=ADDR[#REMOTE]>
       caller serve [OPTIONS] --dev-registry --bind <NAME=ADDR[#REMOTE]>
       caller serve [OPTIONS] --config <FILE>";

const EXAMPLES: &str = "\
Examples:
  bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock --tail stderr
  bspan serve --listen unix:/run/caller.sock --bind DB=127.0.0.1:7400 --rename 'd1.*' --deny db.

Then: bspan call --connect unix:/run/caller.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
More with --help.";

const LONG: &str = concat!(
    "\
Examples:
  Pass one binding on, and write down its spans:
    bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock --tail ./tail.jsonl

  The callee calls it `shop`; only names that begin with `d1.` count, and no `db.` attributes:
    bspan serve --listen 127.0.0.1:7401 --bind DB=127.0.0.1:7400#shop --rename 'd1.*' --deny db.

  Show the spans to a Worker's tailStream(), through its workerd's debug port:
    bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock \\
                 --tail-to unix:/run/workerd-debug.sock#tail

  Everything in a file, see examples/caller.toml; each binding with a policy of its own:
    bspan serve --config caller.toml --check-config && bspan serve --config caller.toml

  Take calls of programs that speak HTTP alone:
    bspan serve --http 127.0.0.1:7480 --bind DB=unix:/run/callee.sock
    curl http://127.0.0.1:7480/v1/call/DB/query --json '[{\"queries\":[{\"sql\":\"select 1 as n\"}]}]'

  For Workers under `wrangler dev`, which reach it as the service DB (docs/wrangler.md):
    bspan serve --bind DB=unix:/run/callee.sock --dev-registry

  Trust a callee with nothing, and tell those who call here nothing:
    bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock \\
                 --rename off --attributes off --forward none

  Both ends under TLS, with one certificate that says who we are:
    bspan serve --listen tls:*:7401 --tls-client-ca ./apps-ca.pem --tls-cert ./caller.pem \\
                 --tls-key ./caller.key --bind DB=tls:db.example:7400 --tls-ca ./ca.pem

A ready caller prints a line for each listener to stderr. It connects to a callee when a call
needs it, and again after the connection was lost; it never sends a call twice. SIGTERM and SIGINT
let the calls in flight finish within --drain and remove the sockets; another signal, a second later or
more, ends it at once. SIGHUP reads the file again: bindings, policies, deadlines and the log's filter change while it serves.

",
    exit_codes!()
);
