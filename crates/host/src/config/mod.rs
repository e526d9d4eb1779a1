//! The configuration of a daemon: command line, variables and one TOML file, all by one definition.
//!
//! A setting is one field of a `clap` struct. Its option, its variable and its key in the file have the
//! same name and are read by the same rules: what the file says and the command line and the variables
//! do not say is handed to `clap` as if it were an option. What is wrong in a file is said with line,
//! column and key. Tables of a file, such as `[bind.DB]`, and tables within
//! them have `clap` structs of their own.

mod document;
mod places;
mod section;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::failure::{Failure, Findings};

use document::Document;
pub use places::Places;
pub use section::{Problem, Section, names};

use section::Unknown;

/// What a daemon's file may contain besides the names of options.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Tables of tables: `bind` for `[bind.NAME]`.
    pub tables: &'static [Tables],
    /// Keys that count less than a table's own, so that they cannot stand among the options.
    pub apart: fn() -> Vec<String>,
}

/// Tables that have names: `[bind.NAME]`, and those within each, such as `[ai.NAME.model.MODEL]`.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// Their first word.
    pub kind: &'static str,
    /// Those that there can be within each.
    pub within: &'static [Tables],
}

impl Tables {
    /// Those that have no others within.
    pub const fn plain(kind: &'static str) -> Self {
        Self { kind, within: &[] }
    }
}

/// A file that was read, to look up its tables.
#[derive(Debug)]
pub struct File {
    text: Arc<Text>,
    document: Document,
}

/// A file's text, to say where in it something is.
#[derive(Debug)]
struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    /// A byte as people look for it: `file:line:column`, both from 1; columns count characters.
    fn place(&self, at: usize) -> String {
        let (line, column) = place(&self.text, at);
        format!("{}:{line}:{column}", self.path.display())
    }

    fn failure(&self, problem: &Problem) -> Failure {
        let one = |problem: &Problem| {
            Failure::Config(format!("{}: {}", self.place(problem.at), problem.text))
        };
        match problem.more.is_empty() {
            true => one(problem),
            false => {
                let all = std::iter::once(problem).chain(&problem.more);
                Failure::Several(all.map(one).collect())
            }
        }
    }
}

/// Bytes of a file, 4 MiB: some 50,000 tables.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What command line, variables and file say.
#[derive(Debug)]
pub struct Loaded<A> {
    /// The settings; those of the file's top are among them, unless they stand apart.
    pub args: A,
    /// The file, if there is one.
    pub file: Option<File>,
    /// The same settings, as text.
    pub values: Values,
    /// Where the file says them.
    pub places: Places,
    /// What is wrong at the file's top; `args` are without it.
    pub found: Findings,
}

/// The values of all options by name, wherever they were said: to see what is another one later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, Vec<OsString>>);

impl Values {
    fn of(command: &Command, matches: &ArgMatches) -> Self {
        let said = section::keys(command).map(|(key, arg)| {
            let values = matches.get_raw(arg.get_id().as_str()).unwrap_or_default();
            (key.to_owned(), values.map(OsString::from).collect())
        });
        Self(said.collect())
    }

    /// The options that differ, as `--name`.
    pub fn differ(&self, other: &Self) -> Vec<String> {
        let differs = |(key, value): &(&String, &Vec<OsString>)| other.0.get(*key) != Some(*value);
        let differing = self.0.iter().filter(differs);
        differing.map(|(key, _)| format!("--{key}")).collect()
    }
}

/// Options that only the command line has.
const COMMAND_LINE: [&str; 5] = ["config", "check-config", "help", "help-limits", "version"];

/// Reads the file that the matches of `command` name, if they do, and parses everything again with what it
/// says. `line` is the command line, the program's name first; `path` leads from the program's own command
/// to the one that has the settings.
///
/// # Errors
/// [`Failure::Config`] says what is wrong in the file and where.
pub fn load<A: FromArgMatches>(
    root: &Command,
    path: &[&str],
    line: &[OsString],
    plan: Plan,
) -> Result<Loaded<A>, Failure> {
    let matches = root.clone().try_get_matches_from(line);
    let matches = matches.map_err(|error| Failure::Usage(usage(&error)))?;
    let said = innermost(&matches, path);
    let Some(file) = said.get_one::<PathBuf>("config") else {
        return Ok(Loaded {
            args: parsed(said)?,
            file: None,
            values: Values::of(command(root, path), said),
            places: Places::default(),
            found: Findings::default(),
        });
    };
    let file = File::read(file, plan)?;
    with_file(root, path, line, plan, file)
}

/// The same for a text, as if it were the file. Opens nothing.
pub fn load_text<A: FromArgMatches>(
    root: &Command,
    path: &[&str],
    text: &str,
    plan: Plan,
) -> Result<Loaded<A>, Failure> {
    let name = PathBuf::from("text.toml");
    let line = [&[root.get_name()], path, &["--config", "text.toml"]].concat();
    let line: Vec<OsString> = line.into_iter().map(OsString::from).collect();
    let file = File::parse(&name, text.to_owned(), plan)?;
    with_file(root, path, &line, plan, file)
}

/// Parses everything again with what the file says.
fn with_file<A: FromArgMatches>(
    root: &Command,
    path: &[&str],
    line: &[OsString],
    plan: Plan,
    file: File,
) -> Result<Loaded<A>, Failure> {
    let matches = root.clone().try_get_matches_from(line);
    let matches = matches.map_err(|error| Failure::Usage(usage(&error)))?;
    let said = innermost(&matches, path);
    let command = command(root, path);
    let apart = (plan.apart)();
    let counts = |key: &str| match said.value_source(&id_of(command, key)) {
        _ if apart.iter().any(|name| name == key) => false,
        Some(ValueSource::CommandLine | ValueSource::EnvVariable) => false,
        _ => true,
    };
    let alone = command.clone().no_binary_name(true);
    let unknown = Unknown::Wrong(plan.tables);
    let (more, problem) = file.document.top.arguments(&alone, unknown, counts);
    let places = Places::of(&file, counts);
    let mut found = Findings::default();
    if let Some(problem) = &problem {
        found.add(file.failure(problem));
    }
    let mut all: Vec<OsString> = line.to_vec();
    all.extend(more.into_iter().map(OsString::from));
    // What belongs together is judged when everything is there.
    let matches = match root.clone().try_get_matches_from(all) {
        Ok(matches) => matches,
        // It may only be missing because it is wrong.
        Err(_) if !found.is_empty() => return Err(found.failure()),
        Err(error) => {
            let path = file.text.path.display();
            return Err(Failure::Config(format!("{path}: {}", usage(&error))));
        }
    };
    let said = innermost(&matches, path);
    Ok(Loaded {
        args: parsed(said)?,
        file: Some(file),
        values: Values::of(command, said),
        places,
        found,
    })
}

/// The command that has the settings.
fn command<'a>(root: &'a Command, path: &[&str]) -> &'a Command {
    path.iter().fold(root, |command, name| {
        command.find_subcommand(name).unwrap_or(command)
    })
}

fn parsed<A: FromArgMatches>(matches: &ArgMatches) -> Result<A, Failure> {
    A::from_arg_matches(matches).map_err(|error| Failure::Usage(usage(&error)))
}

fn innermost<'a>(matches: &'a ArgMatches, path: &[&str]) -> &'a ArgMatches {
    path.iter().fold(matches, |matches, name| {
        matches.subcommand_matches(name).unwrap_or(matches)
    })
}

fn id_of(command: &Command, key: &str) -> String {
    let arg = section::find(command, key);
    arg.map_or_else(String::new, |arg| arg.get_id().to_string())
}

/// What `clap` says, in one line and without its advice, which is about options alone.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.strip_prefix("error: ").unwrap_or(&text);
    let said = said.lines().take_while(|line| !line.is_empty());
    said.map(str::trim).collect::<Vec<_>>().join(" ")
}

impl File {
    /// Reads a file and its tables' names.
    fn read(path: &Path, plan: Plan) -> Result<Self, Failure> {
        let text = js_rpc::read_file(path, LONGEST).map_err(|error| {
            let shown = path.display();
            Failure::Config(format!("cannot read the configuration {shown}: {error}"))
        })?;
        let text = String::from_utf8(text).map_err(|error| {
            let (good, text) = (error.utf8_error().valid_up_to(), error.as_bytes());
            let (line, column) = place(&String::from_utf8_lossy(&text[..good]), good);
            let path = path.display();
            let says = "this is not TOML: it is not UTF-8 text";
            Failure::Config(format!("{path}:{line}:{column}: {says}"))
        })?;
        Self::parse(path, text, plan)
    }

    fn parse(path: &Path, text: String, plan: Plan) -> Result<Self, Failure> {
        let text = Arc::new(Text {
            path: path.to_owned(),
            text,
        });
        let document = Document::parse(&text.text, plan.tables);
        let document = document.map_err(|problem| text.failure(&problem))?;
        Ok(Self { text, document })
    }

    /// What stands outside of all tables.
    pub fn top(&self) -> &Section {
        &self.document.top
    }

    /// Those settings of the top that `T` has. Options and variables do not count here.
    ///
    /// # Errors
    /// [`Failure::Config`] says what is wrong and where.
    pub fn part<T: Args + 'static>(&self) -> Result<T, Failure> {
        let part = self.document.top.part();
        part.map_err(|problem| self.failure(&problem))
    }

    /// The tables `[kind.NAME]` in the order in which they were written, with their names.
    pub fn tables(&self, kind: &str) -> impl Iterator<Item = (&str, &Section)> {
        self.document.top.tables(kind)
    }

    /// What is wrong, with its place.
    pub fn failure(&self, problem: &Problem) -> Failure {
        self.text.failure(problem)
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}
