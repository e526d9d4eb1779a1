//! How AI bindings register themselves with a program that serves bindings: `--ai`, `[ai.NAME]`, metrics.

mod args;
mod catalog;
mod config;
mod discover;
mod metrics;
mod secrets;
mod table;

use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use host::config::{File, Tables};
use host::metrics::Metric;
use host::{Configured, Failure, Help, Kind, Meter};

use self::args::AiArgs;
use self::metrics::Models;

/// Models, and gateways to them.
pub(crate) struct AiKind;

const HELP: Help = Help {
    usage: "--ai <NAME[=URL|=builtin]>",
    option: "--ai NAME",
    table: "[ai.NAME]",
    in_file: "`[ai.NAME]` for an AI binding, with `url` and what else there is; --ai replaces where its only provider is",
    example: "--ai AI=builtin",
    example_new: "",
    example_name: "AI",
    example_call: "AI.models",
    examples: "  \
  Models as AI: of an Ollama, llama.cpp, LM Studio or vLLM on this machine; or a word counter:
    callee --listen unix:/run/callee.sock --ai AI
    callee --listen unix:/run/callee.sock --ai AI=builtin

",
};

impl Kind for AiKind {
    fn name(&self) -> &'static str {
        "ai"
    }

    fn noun(&self) -> &'static str {
        "an AI binding"
    }

    fn help(&self) -> &'static Help {
        &HELP
    }

    fn augment(&self, command: Command) -> Command {
        AiArgs::augment_args(command)
    }

    fn tables(&self) -> Tables {
        table::TABLES
    }

    fn reloadable(&self) -> &'static [&'static str] {
        &["--ai", "--ai-log", "--ai-public-url"]
    }

    fn configured(
        &self,
        matches: &ArgMatches,
        file: Option<&File>,
    ) -> Result<Vec<Box<dyn Configured>>, Failure> {
        let args = AiArgs::from_arg_matches(matches);
        let args = args.map_err(|error| Failure::Usage(error.to_string()))?;
        let all = config::all(&args, file)?.into_iter();
        Ok(all.map(|each| Box::new(each) as _).collect())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        catalog::ALL
    }

    fn meter(&self, counted: bool) -> Arc<dyn Meter> {
        Arc::new(Models::new(counted))
    }
}
