//! How Vectorize registers itself with a program that serves bindings: `--vectorize`, `[vectorize.NAME]`, metrics,
//! commands for operators.

mod args;
mod command;
mod config;
mod copy;
mod metrics;
mod place;

use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use host::config::{File, Tables};
use host::metrics::Metric;
use host::{Configured, Failure, Help, Kind, Meter};

use self::args::VectorizeArgs;
use self::metrics::Indexes;

/// Vectorize indexes.
pub(crate) struct VectorizeKind;

const HELP: Help = Help {
    usage: "--vectorize <NAME=PLACE>",
    option: "--vectorize NAME=FILE",
    table: "[vectorize.NAME] with path = \"FILE\"",
    in_file: "`[vectorize.NAME]` for a Vectorize index, with `path` or `url`, `dimensions`, `metric` and what else \
              there is; --vectorize replaces where it is",
    example: "--vectorize DOCS=./docs.sqlite,dimensions=3,metric=cosine",
    example_new: " --vectorize-create",
    example_name: "DOCS",
    example_call: "DOCS.describe",
    examples: "  \
  A Vectorize index in a file, made if it is not there, and one in PostgreSQL:
    callee --listen unix:/run/callee.sock --vectorize-create \\
           --vectorize DOCS=./docs.sqlite,dimensions=768,metric=cosine
    callee --listen unix:/run/callee.sock --vectorize DOCS=postgres://rag@db.internal/rag,table=docs

",
};

impl Kind for VectorizeKind {
    fn name(&self) -> &'static str {
        "vectorize"
    }

    fn noun(&self) -> &'static str {
        "a Vectorize index"
    }

    fn help(&self) -> &'static Help {
        &HELP
    }

    fn augment(&self, command: Command) -> Command {
        VectorizeArgs::augment_args(command)
    }

    fn is_limit(&self, option: &str) -> bool {
        option.starts_with("vectorize-") && option != "vectorize-create"
    }

    fn tables(&self) -> Tables {
        Tables::plain("vectorize")
    }

    fn reloadable(&self) -> &'static [&'static str] {
        &["--vectorize", "--vectorize-create"]
    }

    fn configured(
        &self,
        matches: &ArgMatches,
        file: Option<&File>,
    ) -> Result<Vec<Box<dyn Configured>>, Failure> {
        let args = VectorizeArgs::from_arg_matches(matches);
        let args = args.map_err(|error| Failure::Usage(error.to_string()))?;
        let all = config::all(&args, file)?.into_iter();
        Ok(all.map(|each| Box::new(each) as _).collect())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        metrics::ALL
    }

    fn meter(&self, counted: bool) -> Arc<dyn Meter> {
        Arc::new(Indexes::new(counted))
    }

    fn command(&self) -> Option<Command> {
        Some(command::command())
    }

    fn run(&self, matches: &ArgMatches) -> Result<(), Failure> {
        command::run(matches)
    }
}
