//! The command line of `callee`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;

use super::{AiArgs, DatabaseLimitArgs};
use crate::admin::AdminArgs;
use crate::cli::{self, exit_codes};
use crate::dev_registry::DevArgs;
use crate::door::{AdmitArgs, IdentityArgs};
use crate::limits::LimitArgs;
use crate::listen::Endpoint;
use crate::log::LogArgs;
use crate::otel::OtlpArgs;
use crate::tail_args::TailArgs;

/// Serve bindings over Cap'n Proto RPC, and name and tag the spans of those who call them.
#[derive(Debug, Clone, Parser)]
#[command(name = "callee", version, styles = cli::STYLES, override_usage = USAGE, after_help = EXAMPLES, after_long_help = LONG)]
#[command(mut_args(cli::in_help))]
pub struct CalleeArgs {
    /// Read what the options do not say from a TOML file
    ///
    /// Its keys are the names of the options; besides, each database can have a table `[d1.NAME]` with
    /// `path` and `create`, and each AI binding a table `[ai.NAME]` with `url` and what else there is. An option
    /// wins over its variable, and both over the file; --d1 replaces where a database of the file is, --ai where
    /// the only provider of an AI binding is.
    #[arg(long, value_name = "FILE", env = "BINDING_SPAN_CONFIG")]
    pub(super) config: Option<PathBuf>,

    /// Only say whether the options and the file can be used; exit with 0 or 78
    ///
    /// Certificates and keys are read, and files of databases looked for; sockets, and the tail's file, are not
    /// opened.
    #[arg(long)]
    pub(super) check_config: bool,

    /// Where to listen: unix:/path, host:port, tls:host:port, systemd; may be repeated
    ///
    /// An address may be followed by `,binding=NAME`: then nothing but that binding can be reached through
    /// it. Every CONNECT means NAME, whatever name it carries; to ask for another binding without CONNECT
    /// fails. `systemd` means the sockets that a service manager opened (LISTEN_FDS),
    /// `systemd:NAME` those that it calls so; TLS is spoken there with `,tls`. Port 0 lets the system
    /// choose one; the line that says `listening on` tells which. In the variable, several are separated
    /// by `;`.
    #[arg(
        long,
        value_name = "ADDR[,binding=NAME]",
        required_unless_present_any = ["config", "dev_registry"],
        env = "BINDING_SPAN_LISTEN",
        value_delimiter = ';'
    )]
    pub listen: Vec<Endpoint>,

    /// Serve a SQLite file as the D1 database NAME; may be repeated
    ///
    /// What its calls may take is below and in --help-limits. In the variable, several are separated by `;`.
    #[arg(
        long = "d1",
        value_name = "NAME=PATH",
        required_unless_present_any = ["config", "ai"],
        env = "BINDING_SPAN_D1",
        value_delimiter = ';',
        value_parser = database
    )]
    pub databases: Vec<NamedFile>,

    /// Create database files that are not there
    #[arg(long = "d1-create", env = "BINDING_SPAN_D1_CREATE", value_parser = FalseyValueParser::new())]
    pub create: bool,

    /// What calls of a database may take.
    #[command(flatten)]
    pub database_limits: DatabaseLimitArgs,

    /// Models, and gateways to them.
    #[command(flatten)]
    pub ai: AiArgs,

    /// Where tail events of our own spans go.
    #[command(flatten)]
    pub tail: TailArgs,

    /// How long calls in flight may take to finish when stopping
    #[arg(long, value_name = "TIME", default_value = "10s", env = "BINDING_SPAN_DRAIN", value_parser = cli::duration)]
    pub drain: Duration,

    /// Who finds it on this machine.
    #[command(flatten)]
    pub dev: DevArgs,

    /// Who may connect, and how many.
    #[command(flatten)]
    pub admit: AdmitArgs,

    /// What peers may make us hold, and how long things may take.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Who we are.
    #[command(flatten)]
    pub identity: IdentityArgs,

    /// What others may ask.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// Where spans go.
    #[command(flatten)]
    pub otlp: OtlpArgs,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogArgs,
}

/// A binding and its file.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// The binding's name.
    pub binding: String,
    /// The SQLite file.
    pub path: PathBuf,
}

fn database(text: &str) -> Result<NamedFile, String> {
    let (binding, path) = cli::named(text, "NAME=PATH, for instance DB=./shop.sqlite")?;
    Ok(NamedFile {
        binding: binding.to_owned(),
        path: path.into(),
    })
}

pub(crate) const USAGE: &str = "\
callee [OPTIONS] --listen <ADDR[,binding=NAME]> --d1 <NAME=PATH>
       callee [OPTIONS] --listen <ADDR[,binding=NAME]> --ai <NAME[=URL|=builtin]>
       callee [OPTIONS] --dev-registry --d1 <NAME=PATH>
       callee [OPTIONS] --config <FILE>";

const EXAMPLES: &str = "\
Examples:
  callee --listen unix:/run/callee.sock --d1 DB=./shop.sqlite
  callee --listen 127.0.0.1:7400 --d1 DB=./shop.sqlite --d1-create --tail stderr

Then: bspan call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
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

  For Workers under `wrangler dev`, which reach it as the service DB (docs/wrangler.md):
    callee --d1 DB=./shop.sqlite --d1-create --dev-registry

  Models as AI: of an Ollama, llama.cpp, LM Studio or vLLM on this machine; or a word counter:
    callee --listen unix:/run/callee.sock --ai AI
    callee --listen unix:/run/callee.sock --ai AI=builtin

  Everything in a file, see examples/callee.toml:
    callee --config callee.toml --check-config && callee --config callee.toml

  Call it:
    bspan call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'

  Completions for a shell (bash, zsh, fish), and manual pages:
    callee --generate bash > ~/.local/share/bash-completion/completions/callee
    callee --generate man ~/.local/share/man/man1

A ready callee says so on stderr, in a line for each listener. SIGTERM and SIGINT let the calls in
flight finish within --drain and remove the sockets; another signal, a second later or more, ends it
at once. SIGHUP reads the file again: bindings and the log's filter change while it serves.

",
    exit_codes!()
);
