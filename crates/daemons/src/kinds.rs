//! The kinds of bindings that this process serves, each as it registers itself, and what is known of all of them.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use host::config::Tables;
use host::metrics::{Metric, Sample};
use host::{Kind, Meter};

/// All kinds, in the order of their options and metrics.
pub type Kinds = &'static [&'static dyn Kind];

static KINDS: OnceLock<Kinds> = OnceLock::new();

/// The kinds of this process: those of this project, unless the program began with others.
pub(crate) fn all() -> Kinds {
    KINDS.get_or_init(bindings::kinds)
}

/// These are the kinds. For the first line of `main`: it comes too late where somebody has asked already.
pub(crate) fn begin_with(kinds: Kinds) {
    let _ = KINDS.set(kinds);
}

/// What this process is for, if a binding started it as one of its workers.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    all().iter().find_map(|kind| kind.run_if_asked())
}

/// The tables that a file may have of all kinds.
pub(crate) fn tables() -> &'static [Tables] {
    static TABLES: OnceLock<Vec<Tables>> = OnceLock::new();
    TABLES.get_or_init(|| all().iter().map(|kind| kind.tables()).collect())
}

/// Whether an option is one of the limits of a kind.
pub(crate) fn is_limit(option: &str) -> bool {
    all().iter().any(|kind| kind.is_limit(option))
}

/// What each kind has to say, put together: `a or b`.
pub(crate) fn listed(of: impl Fn(&dyn Kind) -> &'static str) -> String {
    let each: Vec<&str> = all().iter().map(|kind| of(*kind)).collect();
    each.join(" or ")
}

/// The options of all kinds.
#[derive(Debug, Clone)]
pub struct KindArgs(pub(crate) ArgMatches);

impl FromArgMatches for KindArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

impl Args for KindArgs {
    fn augment_args(command: Command) -> Command {
        let command = all().iter().fold(command, |command, kind| {
            let command = command.next_help_heading(None::<&str>);
            kind.augment(command)
        });
        // What comes next has the heading of no kind.
        one_is_required(command.next_help_heading(None::<&str>))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Without a file there is a binding of the first kind, or of another one.
fn one_is_required(command: Command) -> Command {
    let id = |kind: &dyn Kind| {
        let arg = command.get_arguments();
        let mut arg = arg.filter(|arg| arg.get_long() == Some(kind.name()));
        arg.next().map(Arg::get_id).cloned()
    };
    let ids: Vec<_> = all().iter().filter_map(|kind| id(*kind)).collect();
    let Some((first, others)) = ids.split_first() else {
        return command;
    };
    let others: Vec<_> = others.to_vec();
    command.mut_arg(first, |arg| {
        let arg = arg.required_unless_present_any(["config"]);
        arg.required_unless_present_any(others)
    })
}

/// What is known and counted of the bindings of all kinds. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Meters(Arc<[Metered]>);

type Metered = (&'static dyn Kind, Arc<dyn Meter>);

impl Meters {
    /// Of no bindings yet. `counted`: somebody may ask for metrics.
    pub(crate) fn new(counted: bool) -> Self {
        let each = all().iter().map(|kind| (*kind, kind.meter(counted)));
        Self(each.collect())
    }

    /// Each kind's.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static dyn Kind, &dyn Meter)> {
        self.0.iter().map(|(kind, meter)| (*kind, meter.as_ref()))
    }

    /// The samples of a metric, if it is one of a kind.
    pub(crate) fn samples(&self, metric: &'static Metric) -> Vec<Sample> {
        let is = |other: &&'static Metric| std::ptr::eq(*other, metric);
        let mut each = self.each();
        let owner = each.find(|(kind, _)| kind.metrics().iter().any(is));
        owner.map_or_else(Vec::new, |(_, meter)| meter.samples(metric))
    }

    /// A line for each binding of which all calls fail until somebody looks after it.
    pub(crate) fn unusable(&self) -> Vec<String> {
        self.each()
            .flat_map(|(_, meter)| meter.unusable())
            .collect()
    }

    /// A line for whatever else is not as it should be.
    pub(crate) fn impaired(&self) -> Vec<String> {
        self.each()
            .flat_map(|(_, meter)| meter.impaired())
            .collect()
    }
}
