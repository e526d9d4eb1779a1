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
    if help_limits(&line) {
        return ExitCode::SUCCESS;
    }
    run(CallerArgs::parse(), sockets)
}

/// Prints the limits of `serve`, if that is asked for.
pub(crate) fn help_limits(line: &[OsString]) -> bool {
    let command = CallerArgs::command();
    let serves = line.get(1).is_some_and(|word| word == "serve");
    let serve = command.find_subcommand("serve").filter(|_| serves);
    serve.is_some_and(|serve| cli::help_limits(line, serve))
}

/// Does what a command line says.
pub(crate) fn run(args: CallerArgs, sockets: Result<Sockets, Failure>) -> ExitCode {
    let done = match args.command {
        Command::Serve(args) => sockets.and_then(|sockets| serve::start(&args.log, sockets)),
        Command::Call(args) => run_command(call::from_command_line(*args)),
        Command::Health(args) => run_command(health::from_command_line(args)),
        Command::Tail(args) => run_command(tail::from_command_line(*args)),
        Command::Demo => run_command(demo::run()),
        Command::DemoCallee { folder } => {
            run_command(async move { demo::callee::run(&folder).await })
        }
    };
    exit::report("caller", done)
}

/// Runs what is no daemon.
fn run_command(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    log::start_for_command();
    runtime::block_on(command)
}

/// Whether an attribute says what everybody knows who made the call; trees for people leave it out.
fn is_protocol(key: &str) -> bool {
    ["rpc.", "jsrpc."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}
