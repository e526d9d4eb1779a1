//! How D1 registers itself with a program that serves bindings: `--d1`, `[d1.NAME]`, metrics, worker processes.

mod args;
mod config;
mod metrics;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use host::config::{File, Tables};
use host::metrics::Metric;
use host::{Configured, Failure, Help, Kind, Meter};

use self::args::D1Args;
use self::metrics::Databases;

/// D1 databases.
pub(crate) struct D1;

const HELP: Help = Help {
    usage: "--d1 <NAME=PATH>",
    option: "--d1 NAME=FILE",
    table: "[d1.NAME] with path = \"FILE\"",
    in_file: "`[d1.NAME]` for a database, with `path` and `create`; --d1 replaces where it is",
    example: "--d1 DB=./shop.sqlite",
    example_new: " --d1-create",
    example_name: "DB",
    example_call: "DB.query '{\"queries\":[{\"sql\":\"select 1 as n\"}]}'",
    examples: "  \
  Two databases, made if they are not there, and the callee's own spans beside:
    callee --listen unix:/run/callee.sock --d1 DB=./shop.sqlite --d1 LOG=./log.sqlite --d1-create \\
           --tail ./callee.tail.jsonl

",
};

impl Kind for D1 {
    fn name(&self) -> &'static str {
        "d1"
    }

    fn noun(&self) -> &'static str {
        "a database"
    }

    fn help(&self) -> &'static Help {
        &HELP
    }

    fn augment(&self, command: Command) -> Command {
        D1Args::augment_args(command)
    }

    fn is_limit(&self, option: &str) -> bool {
        option.starts_with("d1-max-") || option == "d1-busy-timeout"
    }

    fn tables(&self) -> Tables {
        Tables::plain("d1")
    }

    fn reloadable(&self) -> &'static [&'static str] {
        &["--d1", "--d1-create"]
    }

    fn configured(
        &self,
        matches: &ArgMatches,
        file: Option<&File>,
    ) -> Result<Vec<Box<dyn Configured>>, Failure> {
        let args = D1Args::from_arg_matches(matches);
        let args = args.map_err(|error| Failure::Usage(error.to_string()))?;
        let all = config::all(args, file)?.into_iter();
        Ok(all.map(|each| Box::new(each) as _).collect())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        metrics::ALL
    }

    fn meter(&self, _counted: bool) -> Arc<dyn Meter> {
        Arc::new(Databases::default())
    }

    fn run_if_asked(&self) -> Option<ExitCode> {
        crate::d1::run_if_asked()
    }
}
