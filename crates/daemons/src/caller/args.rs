//! The command line of `caller`; each command's options stand beside it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::call::CallArgs;
use super::health::HealthArgs;
use super::serve::ServeArgs;
use super::tail::FollowArgs;
use crate::cli::{self, exit_codes};

/// Call bindings over Cap'n Proto RPC, and own the spans that callees name and tag.
#[derive(Debug, Clone, Parser)]
#[command(name = "caller", version, styles = cli::STYLES, after_help = EXAMPLES, after_long_help = LONG)]
pub struct CallerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `caller` does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show what all of this is for, with two processes and a real database
    Demo,
    /// Call a method; the result is JSON on stdout
    Call(Box<CallArgs>),
    /// Pass calls on to callees and own their spans
    Serve(Box<ServeArgs>),
    /// Ask whether a daemon is ready; exit with 0 or 1
    Health(HealthArgs),
    /// Follow the spans of a running caller or callee, live
    Tail(Box<FollowArgs>),
    /// The second process of `demo`.
    #[command(hide = true)]
    DemoCallee {
        /// The demo's own folder.
        folder: PathBuf,
    },
}

const EXAMPLES: &str = "\
Examples:
  bspan demo
  bspan call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'
  bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock

More with --help, and with `bspan call --help`.";

const LONG: &str = concat!(
    "\
Examples:
  See what it is for; needs nothing and leaves nothing behind:
    bspan demo

  One call, straight to a callee; the result goes to stdout, the spans to stderr:
    bspan call --connect unix:/run/callee.sock DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'

  A process that stays: applications call through it, and it owns their spans:
    bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock --tail ./tail.jsonl

  What it is doing, live; it was started with --admin unix:/run/caller-admin.sock:
    bspan tail --connect unix:/run/caller-admin.sock

  Completions for a shell (bash, zsh, fish), and manual pages:
    bspan --generate bash > ~/.local/share/bash-completion/completions/bspan
    bspan --generate man ~/.local/share/man/man1

",
    exit_codes!()
);
