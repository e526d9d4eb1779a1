//! The program `caller`: the side that owns the spans.

mod args;
pub mod call;
pub mod demo;
pub mod health;
pub mod serve;
pub mod tail;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::exit::{self, Failure};
use crate::systemd::sockets::Sockets;
use crate::{cli, generate, log, runtime};

pub use args::{CallerArgs, Command};

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    // Before anything else: they change the environment, which threads would read.
    cli::forget_empty_variables();
    let sockets = Sockets::inherit();
    let line: Vec<OsString> = std::env::args_os().collect();
    if let Some(done) = generate::requested(&line, CallerArgs::command) {
        return exit::report("caller", done);
    }
    let done = match CallerArgs::parse().command {
        Command::Serve(args) => sockets.and_then(|sockets| serve::start(&args.log, sockets)),
        Command::Call(args) => run(call::from_command_line(*args)),
        Command::Health(args) => run(health::from_command_line(args)),
        Command::Tail(args) => run(tail::from_command_line(*args)),
        Command::Demo => run(demo::run()),
        Command::DemoCallee { folder } => run(async move { demo::callee::run(&folder).await }),
    };
    exit::report("caller", done)
}

/// Runs what is no daemon.
fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    log::start_for_command();
    runtime::block_on(command)
}

/// Whether an attribute says what everybody knows who made the call; trees for people leave it out.
fn is_protocol(key: &str) -> bool {
    ["rpc.", "jsrpc."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}
