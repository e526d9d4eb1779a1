//! A section of a file, read as options: each key by the definition of the option of that name.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command};

use super::{COMMAND_LINE, Tables};
use crate::values::{Sensitive, Size, Switch, SwitchOrPath};

/// What is wrong in a file, and where: a byte of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The byte.
    pub at: usize,
    /// The key and what is wrong with it.
    pub text: String,
    /// What else is wrong there.
    pub more: Vec<Problem>,
}

impl Problem {
    /// A problem with what stands at a path of keys.
    pub(super) fn named(at: usize, path: &str, text: &str) -> Self {
        let path: String = path.escape_debug().take(200).collect();
        Self {
            at,
            text: format!("{path}: {text}"),
            more: Vec::new(),
        }
    }

    /// Several as one.
    fn all(problems: Vec<Self>) -> Option<Self> {
        let mut problems = problems.into_iter();
        let first = problems.next()?;
        let more = first.more.into_iter().chain(problems).collect();
        Some(Self { more, ..first })
    }
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(String),
    Switch(bool),
    /// Each with its place.
    List(Vec<(usize, Value)>),
    /// What no setting is.
    Other(&'static str),
}

/// A key and its value, and where they stand.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: usize,
    pub(super) at: usize,
    pub(super) value: Value,
}

/// Keys and values that belong together: the top of a file, or one of its tables.
#[derive(Debug)]
pub struct Section {
    /// What stands before a key in a message: nothing, or `bind.DB.`.
    pub(super) path: String,
    pub(super) at: usize,
    pub(super) entries: Vec<Entry>,
    /// The tables that there can be within it.
    pub(super) within: &'static [Tables],
    /// Those that there are, in the order in which they were written.
    pub(super) tables: Vec<Named>,
}

/// A table `[kind.NAME]`.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) section: Section,
}

/// What to do with keys that are no options.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unknown<'a> {
    /// Say so, and what there is: the options and these.
    Wrong(&'a [Tables]),
    /// Leave them to others.
    LeftOut,
}

impl Section {
    /// What it says, as options of `command`: of those keys that count. Keys that `command` does not have are
    /// wrong, unless nothing but options of `command` is looked for. What is wrong comes beside those that are
    /// not.
    pub(super) fn arguments(
        &self,
        command: &Command,
        unknown: Unknown<'_>,
        counts: impl Fn(&str) -> bool,
    ) -> (Vec<String>, Option<Problem>) {
        let (mut read, mut problems) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            let Some(arg) = find(command, &entry.key) else {
                if let Unknown::Wrong(tables) = unknown {
                    problems.push(self.unknown(entry, command, tables));
                }
                continue;
            };
            match self.read(entry, arg) {
                Ok(more) => read.extend(more.into_iter().map(|(at, text)| (at, entry, text))),
                Err(problem) => problems.push(problem),
            }
        }
        let mut judge = Judge::of(command);
        // Nearly always all of them are right.
        if !judge.takes(read.iter().map(|(_, _, argument)| argument)) {
            read.retain(|(at, entry, argument)| match judge.says(argument) {
                Ok(()) => true,
                Err(text) => {
                    problems.push(self.named(*at, &entry.key, &text));
                    false
                }
            });
        }
        problems.sort_by_key(|problem| problem.at);
        let counting = read.into_iter().filter(|(_, entry, _)| counts(&entry.key));
        let arguments = counting.map(|(_, _, argument)| argument).collect();
        (arguments, Problem::all(problems))
    }

    /// The settings of a table, which has no other keys.
    pub fn parse<T: Args + 'static>(&self) -> Result<T, Problem> {
        self.settings(Unknown::Wrong(self.within))
    }

    /// The tables `[kind.NAME]` within it, in the order in which they were written, with their names.
    pub fn tables(&self, kind: &str) -> impl Iterator<Item = (&str, &Section)> {
        let tables = self.tables.iter();
        tables
            .filter(move |table| table.kind == kind)
            .map(|table| (table.name.as_str(), &table.section))
    }

    /// Whether it has this key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// A setting as all messages and places name it: `d1.DB.path`.
    pub fn setting(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Those settings that `T` has; others are left to others.
    pub(super) fn part<T: Args + 'static>(&self) -> Result<T, Problem> {
        self.settings(Unknown::LeftOut)
    }

    fn settings<T: Args + 'static>(&self, unknown: Unknown<'_>) -> Result<T, Problem> {
        with_definition::<T, _>(|command| {
            let (arguments, problem) = self.arguments(command, unknown, |_| true);
            if let Some(problem) = problem {
                return Err(problem);
            }
            let wrong = |error: clap::Error| self.lacks(&super::usage(&error));
            let matches = command.try_get_matches_from_mut(arguments).map_err(wrong)?;
            T::from_arg_matches(&matches).map_err(wrong)
        })
    }

    /// What is wrong with a value beyond its form.
    pub fn wrong(&self, key: &str, text: &str) -> Problem {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        self.named(entry.map_or(self.at, |entry| entry.at), key, text)
    }

    /// What is wrong with all of it.
    pub fn lacks(&self, text: &str) -> Problem {
        Problem::named(self.at, self.path.trim_end_matches('.'), text)
    }

    fn named(&self, at: usize, key: &str, text: &str) -> Problem {
        Problem::named(at, &format!("{}{key}", self.path), &one_line(text))
    }

    /// The arguments that a value is, each with its place.
    fn read(&self, entry: &Entry, arg: &Arg) -> Result<Vec<(usize, String)>, Problem> {
        let many = matches!(arg.get_action(), ArgAction::Append);
        let wrong = |at, text: &str| Err(self.named(at, &entry.key, text));
        let single = [(entry.at, entry.value.clone())];
        let list: &[(usize, Value)] = match &entry.value {
            Value::List(list) if list.is_empty() => {
                return wrong(entry.at, "an empty list says nothing; leave the key out");
            }
            Value::List(list) if !many && list.len() > 1 => {
                return wrong(entry.at, "there can be one only");
            }
            Value::List(list) => list,
            _ => &single,
        };
        let kind = Kind::of(arg);
        let mut arguments = Vec::with_capacity(list.len());
        for (at, value) in list {
            let key = &entry.key;
            match (kind, value) {
                (Kind::Sensitive, Value::Text(text)) if !text.is_empty() => {
                    arguments.push((*at, format!("--{key}={text}")));
                }
                // What stands there is not repeated.
                (Kind::Sensitive, _) => {
                    return wrong(*at, &format!("write {}", kind.expected(arg)));
                }
                (Kind::Flag, Value::Switch(true)) => arguments.push((*at, format!("--{key}"))),
                (Kind::Flag, Value::Switch(false)) => {}
                (Kind::Switch | Kind::SwitchOrText, Value::Switch(on)) => {
                    arguments.push((*at, format!("--{key}={on}")))
                }
                (Kind::Flag, _) => return wrong(*at, &mismatch(value, &kind.expected(arg))),
                (_, Value::Text(text)) if text.is_empty() => {
                    return wrong(*at, "this is empty; leave the key out");
                }
                (Kind::Number, Value::Number(text)) | (_, Value::Text(text)) => {
                    arguments.push((*at, format!("--{key}={text}")));
                }
                _ => return wrong(*at, &mismatch(value, &kind.expected(arg))),
            }
        }
        Ok(arguments)
    }

    fn unknown(&self, entry: &Entry, command: &Command, tables: &[Tables]) -> Problem {
        let tables: Vec<&str> = tables.iter().map(|tables| tables.kind).collect();
        let keys = keys(command).map(|(key, _)| key);
        let keys = keys.filter(|key| !tables.contains(key));
        let known: Vec<&str> = keys.chain(tables.iter().copied()).collect();
        let plain = entry.key.replace('_', "-").to_lowercase();
        // Long keys take long to compare, and are like none.
        let plain: String = plain.chars().take(100).collect();
        let near = |known: &&str| strsim::damerau_levenshtein(known, &plain);
        let nearest = known.iter().copied().min_by_key(near);
        let text = match nearest.filter(|known| near(known) <= 1 + known.len() / 3) {
            Some(known) => format!("there is no such key; did you mean {known}?"),
            None => {
                // There are many limits, and all look alike.
                let shown = known.iter().filter(|key| !key.starts_with("limit-"));
                let shown: Vec<&str> = shown.copied().collect();
                let more = match shown.len() < known.len() {
                    true => ", and the limits that --help-limits has",
                    false => "",
                };
                format!("there is no such key; there is: {}{more}", shown.join(", "))
            }
        };
        self.named(entry.key_at, &entry.key, &text)
    }
}

/// What an option takes, as far as TOML can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An option without a value.
    Flag,
    /// `on` or `off`.
    Switch,
    /// `on`, `off`, or a text.
    SwitchOrText,
    /// A number, or a text that stands for one.
    Number,
    /// A time with its unit.
    Time,
    Text,
    /// A text that is, or may be, a secret.
    Sensitive,
}

impl Kind {
    fn of(arg: &Arg) -> Self {
        let holds = arg.get_value_parser().type_id();
        let is = |types: &[TypeId]| types.iter().any(|id| holds == *id);
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            Self::Flag
        } else if is(&[TypeId::of::<Switch>()]) {
            Self::Switch
        } else if is(&[TypeId::of::<SwitchOrPath>()]) {
            Self::SwitchOrText
        } else if is(&[TypeId::of::<Sensitive>()]) {
            Self::Sensitive
        } else if is(&[TypeId::of::<Duration>()]) {
            Self::Time
        } else if is(&[
            TypeId::of::<usize>(),
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<u16>(),
            TypeId::of::<f64>(),
            TypeId::of::<Size>(),
        ]) {
            Self::Number
        } else {
            Self::Text
        }
    }

    fn expected(self, arg: &Arg) -> String {
        match self {
            Self::Flag | Self::Switch => "true or false".into(),
            Self::SwitchOrText => "true, false or a path".into(),
            Self::Time => "a time such as \"30s\"".into(),
            Self::Number => "a number".into(),
            Self::Text | Self::Sensitive => {
                let names = arg.get_value_names().unwrap_or_default();
                let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                names.join(" ")
            }
        }
    }
}

/// The options that a file can have, by name.
pub(super) fn keys(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command.get_arguments().filter_map(|arg| {
        let key = arg.get_long()?;
        let counts = !COMMAND_LINE.contains(&key) && !arg.is_hide_set();
        counts.then_some((key, arg))
    })
}

/// The option of that name, if a file can have it.
pub(super) fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let mut keys = keys(command);
    keys.find(|(name, _)| *name == key).map(|(_, arg)| arg)
}

/// The options of `T` and nothing else.
pub(super) fn definition<T: Args>() -> Command {
    T::augment_args(Command::new("table"))
        .no_binary_name(true)
        .disable_help_flag(true)
        .mut_args(|arg| arg.env(Resettable::Reset))
}

/// The names of the options of `T`.
pub fn names<T: Args>() -> Vec<String> {
    let command = definition::<T>();
    keys(&command).map(|(key, _)| key.to_owned()).collect()
}

/// [`definition`], made once a thread: there may be thousands of tables.
fn with_definition<T: Args + 'static, R>(then: impl FnOnce(&mut Command) -> R) -> R {
    thread_local! {
        static MADE: RefCell<HashMap<TypeId, Command>> = RefCell::default();
    }
    let made = MADE.with_borrow_mut(|made| made.remove(&TypeId::of::<T>()));
    let mut command = made.unwrap_or_else(definition::<T>);
    let result = then(&mut command);
    MADE.with_borrow_mut(|made| made.insert(TypeId::of::<T>(), command));
    result
}

/// Tells whether options take their values.
struct Judge(Command);

impl Judge {
    fn of(command: &Command) -> Self {
        Self(command.clone())
    }

    /// Whether every value is taken.
    fn takes<'a>(&mut self, arguments: impl Iterator<Item = &'a String>) -> bool {
        match self.0.try_get_matches_from_mut(arguments) {
            Ok(_) => true,
            // What belongs together is judged when everything is there.
            Err(error) => !matches!(
                error.kind(),
                ErrorKind::ValueValidation | ErrorKind::InvalidValue
            ),
        }
    }

    /// Whether this value is taken, and else why not.
    fn says(&mut self, argument: &str) -> Result<(), String> {
        let judged = self.0.try_get_matches_from_mut([argument]);
        let Err(error) = judged else { return Ok(()) };
        match error.kind() {
            ErrorKind::ValueValidation => Err(match error.source() {
                Some(source) => source.to_string(),
                None => super::usage(&error),
            }),
            ErrorKind::InvalidValue => Err(match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => format!("write {}", values.join(" or ")),
                _ => super::usage(&error),
            }),
            // What belongs together is judged when everything is there.
            _ => Ok(()),
        }
    }
}

pub(super) fn mismatch(value: &Value, expected: &str) -> String {
    match value {
        Value::Text(text) => format!("write {expected}, not {text:?}"),
        Value::Number(number) => format!("write {expected}, not {number}"),
        Value::Switch(_) => format!("write {expected}; this is true or false"),
        Value::List(_) => format!("write {expected}; this is a list"),
        Value::Other(what) => format!("write {expected}; this is {what}"),
    }
}

/// What is said of a file is said in one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
