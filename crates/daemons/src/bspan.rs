//! The program `bspan`: every command of [`caller`], [`callee`] as one more, and those of kinds of
//! bindings, under a name that no shell has as a builtin, as bash has `caller`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches};

use crate::callee::{self, CalleeArgs};
use crate::caller::{self, CallerArgs};
use crate::kinds::Kinds;
use crate::systemd::sockets::Sockets;
use crate::{cli, exit, generate, kinds};

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    // A worker of a binding that `bspan callee` serves: this program again.
    if let Some(worker) = kinds::run_if_asked() {
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
    for kind in kinds::all() {
        let own = kind.command();
        if let Some(matches) = own.and_then(|own| matches.subcommand_matches(own.get_name())) {
            return exit::report("bspan", kind.run(matches));
        }
    }
    match CallerArgs::from_arg_matches(&matches) {
        Ok(args) => caller::run(args, sockets),
        Err(error) => error.exit(),
    }
}

/// The same with other kinds of bindings than those of this project.
pub fn main_with(kinds: Kinds) -> ExitCode {
    kinds::begin_with(kinds);
    main()
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
    let of_kinds = kinds::all().iter().filter_map(|kind| kind.command());
    command
        .subcommand(command_of_callee())
        .subcommands(of_kinds)
}

fn command_of_callee() -> Command {
    CalleeArgs::command()
        .name("callee")
        .bin_name("bspan callee")
        .override_usage(callee::usage().replace("callee [", "bspan callee ["))
}

fn ours(usage: &str) -> String {
    usage.replace("caller ", "bspan ")
}
