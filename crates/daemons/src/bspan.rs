//! The program `bspan`: every command of [`caller`], and [`callee`] as one more, under
//! a name that no shell has as a builtin, as bash has `caller`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches};

use crate::callee::{self, CalleeArgs};
use crate::caller::{self, CallerArgs};
use crate::systemd::sockets::Sockets;
use crate::{cli, exit, generate};

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    // A worker of a database that `bspan callee` serves: this program again.
    if let Some(worker) = bindings::d1::run_if_asked() {
        return worker;
    }
    // Before anything else: they change the environment, which threads would read.
    cli::forget_empty_variables();
    let sockets = Sockets::inherit();
    let line: Vec<OsString> = std::env::args_os().collect();
    if let Some(done) = generate::requested(&line, command) {
        return exit::report("bspan", done);
    }
    if line.get(1).map(OsString::as_os_str) == Some(OsStr::new("callee")) {
        // Its command line without our own name.
        return callee::run(&line[1..], command_of_callee(), sockets);
    }
    if caller::help_limits(&line) {
        return ExitCode::SUCCESS;
    }
    let matches = command().get_matches_from(&line);
    match CallerArgs::from_arg_matches(&matches) {
        Ok(args) => caller::run(args, sockets),
        Err(error) => error.exit(),
    }
}

/// Everything that it does.
fn command() -> Command {
    let command = CallerArgs::command().name("bspan").bin_name("bspan");
    let command =
        command.about("Serve bindings, call them, and own the spans that callees name and tag");
    let command = command
        .mut_subcommand("call", |call| {
            call.override_usage(ours(caller::call::USAGE))
        })
        .mut_subcommand("serve", |serve| {
            serve.override_usage(ours(caller::serve::USAGE))
        })
        .mut_subcommand("tail", |tail| {
            tail.override_usage(ours(caller::tail::USAGE))
        });
    command.subcommand(command_of_callee())
}

fn command_of_callee() -> Command {
    CalleeArgs::command()
        .name("callee")
        .bin_name("bspan callee")
        .override_usage(callee::USAGE.replace("callee [", "bspan callee ["))
}

fn ours(usage: &str) -> String {
    usage.replace("caller ", "bspan ")
}
