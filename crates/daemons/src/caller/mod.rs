//! The program `caller`: the side that owns the spans.

mod args;
pub mod call;
pub mod demo;
pub mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::{self, Failure};
use crate::{runtime, telemetry};

pub use args::{CallerArgs, Command};

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    let command = CallerArgs::parse().command;
    telemetry::start_log(match command {
        Command::Serve(_) => telemetry::DAEMON_LOG,
        _ => telemetry::COMMAND_LOG,
    });
    exit::report("caller", runtime::block_on(run(command)))
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(_) => serve::from_command_line().await,
        Command::Call(args) => call::from_command_line(*args).await,
        Command::Demo => demo::run().await,
        Command::DemoCallee { folder } => demo::callee::run(&folder).await,
    }
}

/// Whether an attribute says what everybody knows who made the call; trees for people leave it out.
fn is_protocol(key: &str) -> bool {
    ["rpc.", "jsrpc."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}
