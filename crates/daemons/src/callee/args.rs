//! The command line of `callee`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::help;
use crate::admin::AdminArgs;
use crate::cli;
use crate::dev_registry::DevArgs;
use crate::door::{AdmitArgs, IdentityArgs};
use crate::kinds::KindArgs;
use crate::limits::LimitArgs;
use crate::listen::Endpoint;
use crate::log::LogArgs;
use crate::otel::OtlpArgs;
use crate::tail_args::TailArgs;

/// Serve bindings over Cap'n Proto RPC, and name and tag the spans of those who call them.
#[derive(Debug, Clone, Parser)]
#[command(name = "callee", version, styles = cli::STYLES, override_usage = help::usage(), after_help = help::examples(), after_long_help = help::all_examples())]
#[command(mut_args(cli::in_help))]
pub struct CalleeArgs {
    /// Read what the options do not say from a TOML file
    #[arg(long, value_name = "FILE", env = "BINDING_SPAN_CONFIG", long_help = help::file())]
    pub(super) config: Option<PathBuf>,

    /// Only say whether the options and the file can be used; exit with 0 or 78
    ///
    /// Certificates and keys are read, and files that bindings need looked for; sockets, and the tail's file, are
    /// not opened.
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

    /// What it serves.
    #[command(flatten)]
    pub kinds: KindArgs,

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
