//! A kind of binding, as it registers itself with the program that serves it.

use std::any::Any;
use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgMatches, Command};
use js_rpc::Bindings;

use crate::config::{File, Places, Tables};
use crate::failure::Failure;
use crate::metrics::{Metric, Sample};

/// A kind of binding: what a program has to know to configure, serve, watch and reload bindings of this kind, and to
/// show people how.
///
/// All of it is reached through this, so a program names no kind. Bindings of a kind are configured by options that
/// begin with its [name](Self::name), and by tables `[name.BINDING]` of the configuration file.
pub trait Kind: Sync {
    /// Its name, such as `d1`: of the option that adds a binding, and of the tables in the file.
    fn name(&self) -> &'static str;

    /// What messages call a binding of it, with an article: `a database`.
    fn noun(&self) -> &'static str;

    /// What help and messages say of it.
    fn help(&self) -> &'static Help;

    /// A command with its options: `--NAME`, which adds a binding, and `--NAME-...`.
    fn augment(&self, command: Command) -> Command;

    /// Whether an option of its own is one of the many limits, which help shows on a page of their own.
    fn is_limit(&self, _option: &str) -> bool {
        false
    }

    /// The tables that a file may have of it; their [`kind`](Tables::kind) is its name.
    fn tables(&self) -> Tables;

    /// The options, as `--name`, that may change while it is served.
    fn reloadable(&self) -> &'static [&'static str];

    /// The bindings of it that options, variables and the file say, each checked as far as nothing has to be opened.
    ///
    /// # Errors
    /// [`Failure`] says all that is wrong, with the places in the file.
    fn configured(
        &self,
        matches: &ArgMatches,
        file: Option<&File>,
    ) -> Result<Vec<Box<dyn Configured>>, Failure>;

    /// The metrics of it.
    fn metrics(&self) -> &'static [&'static Metric] {
        &[]
    }

    /// What knows how all bindings of it are doing. `counted`: somebody may ask for metrics.
    fn meter(&self, counted: bool) -> Arc<dyn Meter>;

    /// What this process is for, if it was started by a binding of this kind as one of its workers. For the first line of
    /// `main`.
    fn run_if_asked(&self) -> Option<ExitCode> {
        None
    }

    /// A command for operators, such as `bspan NAME backup`, if there is one.
    fn command(&self) -> Option<Command> {
        None
    }

    /// Runs that command.
    ///
    /// # Errors
    /// [`Failure`] says what failed, and with which exit code the program ends.
    fn run(&self, _matches: &ArgMatches) -> Result<(), Failure> {
        Err(Failure::Usage(format!("{} has no commands", self.name())))
    }
}

impl Debug for dyn Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What help and messages say of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Help {
    /// The option that adds a binding, as the usage has it: `--d1 <NAME=PATH>`.
    pub usage: &'static str,
    /// The same, as a message tells people to write it: `--d1 NAME=FILE`.
    pub option: &'static str,
    /// What to write into the file instead: `[d1.NAME] with path = "FILE"`.
    pub table: &'static str,
    /// What its tables are and how options act on them, as a sentence's part: "`[d1.NAME]` for a database, with ..".
    pub in_file: &'static str,
    /// A binding, for examples that need one: `--d1 DB=./shop.sqlite`.
    pub example: &'static str,
    /// What makes it, beyond that, where it is not there yet: ` --d1-create`, or nothing.
    pub example_new: &'static str,
    /// The name of that binding.
    pub example_name: &'static str,
    /// A call of it, as `bspan call` takes it.
    pub example_call: &'static str,
    /// Examples of its own, as they stand in the help, each with an empty line behind it.
    pub examples: &'static str,
}

/// A binding, as it is configured.
#[async_trait(?Send)]
pub trait Configured: Any + Debug {
    /// Its name.
    fn name(&self) -> &str;

    /// Whether one that is open as this says would be no other one if it were opened as `other`, of any kind, says.
    fn is_same(&self, other: &dyn Configured) -> bool;

    /// Reads the files that its settings name. `check`: all of it is only checked.
    ///
    /// # Errors
    /// All that cannot be used, each with its place.
    fn read_files(&mut self, _places: &Places, _check: bool) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether it can be there, without opening it: for a check of the configuration.
    ///
    /// # Errors
    /// [`Failure::Config`] says what is not there, with its place.
    fn check(&self, _places: &Places) -> Result<(), Failure> {
        Ok(())
    }

    /// The settings that a check could not look at, because the service manager keeps their credentials to itself.
    fn unchecked(&self) -> Vec<String> {
        Vec::new()
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Failure::Config`] says what cannot be opened and why, [`Failure::Unavailable`] what does not answer.
    async fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Offered>, Failure>;
}

/// What a binding that is opened is given.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// What [`Kind::meter`] returned.
    pub meter: &'a dyn Meter,
    /// Says a line to whoever started the program, whatever is logged.
    pub say: &'a dyn Fn(&str),
}

impl Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// A binding that is open.
#[async_trait(?Send)]
pub trait Offered: Any {
    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Answers calls of this name from now on.
    fn serve(&self, name: &str, bindings: &Bindings);

    /// Where it is reached by plain HTTP, if it is.
    fn reached_at(&self, _url: Option<String>) {}

    /// Opens it again if it is not what it was when it was opened, as an operator asks for; `None` if it is.
    async fn reopen(&self) -> Option<Result<(), String>> {
        None
    }

    /// Finishes what it is doing, its callers being gone.
    async fn close(&self) {}
}

/// What is known and counted of all bindings of a kind. It is asked on other threads than the one that serves.
pub trait Meter: Any + Send + Sync + Debug {
    /// These are the bindings of the kind from now on, with their names.
    fn replace(&self, open: &[(&str, &dyn Offered)]);

    /// The samples of a metric of the kind, at present.
    fn samples(&self, _metric: &'static Metric) -> Vec<Sample> {
        Vec::new()
    }

    /// A line for each binding that needs somebody to look after it: until then all its calls fail, and the program is not
    /// ready.
    fn unusable(&self) -> Vec<String> {
        Vec::new()
    }

    /// A line for whatever else is not as it should be. The program is ready for all that.
    fn impaired(&self) -> Vec<String> {
        Vec::new()
    }
}

impl dyn Configured {
    /// The same as what it is, if it is of that type.
    pub fn downcast_ref<T: Configured>(&self) -> Option<&T> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}

impl dyn Offered {
    /// The same as what it is, if it is of that type.
    pub fn downcast_ref<T: Offered>(&self) -> Option<&T> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}

impl dyn Meter {
    /// The same as what it is, if it is of that type.
    pub fn downcast_ref<T: Meter>(&self) -> Option<&T> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}
