//! How far callees are trusted and awaited: options for all of them, and the keys of `[bind.NAME]`.

use std::time::Duration;

use binding_span::{DENIED_PREFIXES, MAX_DISTINCT_NAMES, PolicyConfig, Rename};
use clap::{Args, ValueEnum};
use js_rpc::Forward;

use super::settings;
use crate::cli::{self, Switch};

/// How far a callee is trusted and awaited, as far as somebody said.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PolicyArgs {
    /// Which names a callee may give to spans; any by default
    ///
    /// A pattern may contain `*` for any text and `?` for one character.
    #[arg(
        long,
        value_name = "any|off|PATTERN,...",
        env = "BINDING_SPAN_RENAME",
        value_delimiter = ',',
        value_parser = settings::rename
    )]
    rename: Vec<Rename>,

    /// How many distinct names each binding may have; 200 by default
    ///
    /// Further ones are dropped: names are labels in most places where spans go.
    #[arg(long, value_name = "N", env = "BINDING_SPAN_MAX_NAMES", value_parser = cli::count::<usize>)]
    max_names: Option<usize>,

    /// Whether attributes from a callee count; on by default
    #[arg(long, value_name = "on|off", env = "BINDING_SPAN_ATTRIBUTES")]
    attributes: Option<Switch>,

    /// Drop attributes whose keys begin with this; may be repeated
    ///
    /// Besides `service.`, `telemetry.`, `otel.`, `rpc.`, `jsrpc.`, `binding_span.` and `span.name`,
    /// which describe the caller or the protocol and are always dropped.
    #[arg(
        long,
        value_name = "PREFIX",
        env = "BINDING_SPAN_DENY",
        value_delimiter = ','
    )]
    deny: Vec<String>,

    /// What goes on to whoever called: the enrichment that counted here (the default), or none
    #[arg(
        long,
        value_name = "accepted|none",
        env = "BINDING_SPAN_FORWARD",
        hide_possible_values = true
    )]
    forward: Option<ForwardArg>,

    /// How long a call may take; 30s by default
    #[arg(long, value_name = "TIME", env = "BINDING_SPAN_DEADLINE", value_parser = cli::deadline)]
    deadline: Option<Duration>,
}

/// The keys of a table `[bind.NAME]`.
#[derive(Debug, Clone, Args)]
pub(super) struct BindingArgs {
    /// Where calls go: an address, and behind `#` the name that the binding has there.
    #[arg(long, value_name = "ADDR[#REMOTE]")]
    pub(super) to: Option<String>,

    /// The name to open the connection with, by CONNECT.
    #[arg(long, value_name = "NAME")]
    pub(super) connect_name: Option<String>,

    #[command(flatten)]
    pub(super) policy: PolicyArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ForwardArg {
    Accepted,
    None,
}

const DEADLINE: Duration = Duration::from_secs(30);

impl PolicyArgs {
    /// Checks what no value shows by itself.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let alone = |rename: &Rename| !matches!(rename, Rename::Matching(_));
        match self.rename.len() > 1 && self.rename.iter().any(alone) {
            true => Err("any and off stand alone; write any, off or patterns"),
            false => Ok(()),
        }
    }

    /// What this says, and where it says nothing what `other` says. What is denied adds up: nobody can
    /// allow what another denied.
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            rename: match self.rename.is_empty() {
                true => other.rename.clone(),
                false => self.rename,
            },
            attributes: self.attributes.or(other.attributes),
            deny: self.deny.into_iter().chain(other.deny.clone()).collect(),
            max_names: self.max_names.or(other.max_names),
            forward: self.forward.or(other.forward),
            deadline: self.deadline.or(other.deadline),
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }

    pub(super) fn forward(&self) -> Forward {
        match self.forward {
            Some(ForwardArg::None) => Forward::Nothing,
            Some(ForwardArg::Accepted) => Forward::Accepted,
            None => Forward::default(),
        }
    }

    pub(super) fn policy(self) -> PolicyConfig {
        let denied = DENIED_PREFIXES.map(String::from).into_iter();
        PolicyConfig {
            rename: together(self.rename),
            attributes: self.attributes.is_none_or(|switch| switch.0),
            max_distinct_names: self.max_names.unwrap_or(MAX_DISTINCT_NAMES),
            // An empty prefix would be every key.
            denied_prefixes: denied
                .chain(self.deny)
                .filter(|prefix| !prefix.is_empty())
                .collect(),
        }
    }
}

/// Patterns are one list; `any` and `off` stand alone.
fn together(mut said: Vec<Rename>) -> Rename {
    if said.len() < 2 {
        return said.pop().unwrap_or_default();
    }
    let patterns = said.into_iter().filter_map(|rename| match rename {
        Rename::Matching(patterns) => Some(patterns),
        _ => None,
    });
    Rename::Matching(patterns.flatten().collect())
}
