//! The command line of `callee`.

use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;

use js_rpc::RpcLimits;

use super::{Config, DatabaseConfig};
use crate::cli::{self, exit_codes};
use crate::door::{AdmitArgs, IdentityArgs};
use crate::listen::Endpoint;
use crate::telemetry::TailTo;

/// Serve bindings over Cap'n Proto RPC, and name and tag the spans of those who call them.
#[derive(Debug, Clone, Parser)]
#[command(name = "callee", version, styles = cli::STYLES, after_help = EXAMPLES, after_long_help = LONG)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub struct CalleeArgs {
    /// Where to listen: unix:/path, host:port, tls:host:port; may be repeated
    ///
    /// An address may be followed by `,binding=NAME`: then every CONNECT on it means that binding,
    /// whatever name it carries. Port 0 lets the system choose one; the line that says `listening on`
    /// tells which. In the variable, several are separated by `;`.
    #[arg(
        long,
        value_name = "ADDR[,binding=NAME]",
        required = true,
        env = "BINDING_SPAN_LISTEN",
        value_delimiter = ';'
    )]
    pub listen: Vec<Endpoint>,

    /// Serve a SQLite file as the D1 database NAME; may be repeated
    ///
    /// In the variable, several are separated by `;`.
    #[arg(
        long = "d1",
        value_name = "NAME=PATH",
        required = true,
        env = "BINDING_SPAN_D1",
        value_delimiter = ';',
        value_parser = database
    )]
    pub databases: Vec<DatabaseConfig>,

    /// Create database files that are not there
    #[arg(long = "d1-create", env = "BINDING_SPAN_D1_CREATE", value_parser = FalseyValueParser::new())]
    pub create: bool,

    /// Append tail events of our own spans, as JSON lines, to a file or to stderr
    #[arg(long, value_name = "FILE|stderr", env = "BINDING_SPAN_TAIL")]
    pub tail: Option<TailTo>,

    /// How long calls in flight may take to finish when stopping
    #[arg(long, value_name = "TIME", default_value = "10s", env = "BINDING_SPAN_DRAIN", value_parser = cli::duration)]
    pub drain: Duration,

    /// Who may connect, and how many.
    #[command(flatten)]
    pub admit: AdmitArgs,

    /// Who we are.
    #[command(flatten)]
    pub identity: IdentityArgs,
}

fn database(text: &str) -> Result<DatabaseConfig, String> {
    let (binding, path) = cli::named(text, "NAME=PATH, for instance DB=./shop.sqlite")?;
    Ok(DatabaseConfig {
        binding: binding.to_owned(),
        path: path.into(),
        create: false,
    })
}

impl From<CalleeArgs> for Config {
    fn from(args: CalleeArgs) -> Self {
        let databases = args.databases.into_iter().map(|database| DatabaseConfig {
            create: args.create,
            ..database
        });
        Self {
            databases: databases.collect(),
            tail: args.tail,
            limits: args.admit.limits(RpcLimits {
                drain: args.drain,
                ..RpcLimits::default()
            }),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  callee --listen unix:/run/callee.sock --d1 DB=./shop.sqlite
  callee --listen 127.0.0.1:7400 --d1 DB=./shop.sqlite --d1-create --tail stderr

Then: caller call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
More with --help.";

const LONG: &str = concat!(
    "\
Examples:
  One database on a unix socket; only this user can connect (mode 0600):
    callee --listen unix:/run/callee.sock --d1 DB=./shop.sqlite

  The same for a workerd on this machine (capnpConnectHost), whatever host name it sends:
    callee --listen 127.0.0.1:7400,binding=DB --d1 DB=./shop.sqlite

  Two databases, made if they are not there, and the callee's own spans beside:
    callee --listen unix:/run/callee.sock --d1 DB=./shop.sqlite --d1 LOG=./log.sqlite --d1-create \\
           --tail ./callee.tail.jsonl

  For other machines: certificates on both sides, each read again when it is renewed:
    callee --listen tls:*:7400 --tls-cert ./callee.pem --tls-key ./callee.key \\
           --tls-client-ca ./ca.pem --d1 DB=./shop.sqlite

  For another user of this machine, who is in the group `apps`:
    callee --listen unix:/run/callee.sock --socket-group apps --allow-uid web --d1 DB=./shop.sqlite

  Call it:
    caller call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'

A ready callee says so on stderr, in a line for each listener. SIGTERM and SIGINT let the calls in
flight finish within --drain and remove the sockets; a second signal ends it at once. RUST_LOG sets
what is logged.

",
    exit_codes!()
);
