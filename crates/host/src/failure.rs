//! Why a program ends without having done what it was asked for, and what is wrong with a configuration.

use std::collections::HashSet;

use binding_span::StatedError;
use js_rpc::{BindError, CallError};

/// Why a program ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The callee threw, said of what it answered that it failed, or answered with what cannot be read: its words.
    /// Code 1.
    #[error("{0}")]
    Callee(String),
    /// The command line does not say what to do. Code 2.
    #[error("{0}")]
    Usage(String),
    /// No connection could be made, or it was lost. Code 69.
    #[error("{0}")]
    Unavailable(String),
    /// The result could not be written, or cannot be expressed in JSON. Code 74.
    #[error("{0}")]
    Output(String),
    /// Something that the configuration names is not there or not allowed. Code 78.
    #[error("{0}")]
    Config(String),
    /// There was no answer in time. Code 124.
    #[error("{0}")]
    Deadline(String),
    /// What is wrong with one setting, by its name without `--`, and with which of several values.
    #[error("{failure}")]
    Of {
        /// The setting: `listen`, `bind.DB.to`.
        setting: String,
        /// Its value, from 0.
        nth: usize,
        /// What is wrong.
        failure: Box<Failure>,
    },
    /// Several things at once. The first one's code.
    #[error("{}", listed(.0))]
    Several(Vec<Failure>),
    /// A signal ended it; the signal's number. Code 128 and that.
    #[error("interrupted")]
    Signal(u8),
}

impl Failure {
    /// The exit code, where there is a choice that of `sysexits.h` or of the shell.
    pub fn code(&self) -> u8 {
        match self {
            Self::Of { failure, .. } => failure.code(),
            Self::Several(all) => all.first().map_or(1, Self::code),
            Self::Callee(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 69,
            Self::Output(_) => 74,
            Self::Config(_) => 78,
            Self::Deadline(_) => 124,
            Self::Signal(number) => 128 + *number,
        }
    }
}

impl Failure {
    /// The same, of the `nth` value of a setting.
    pub fn of(self, setting: impl Into<String>, nth: usize) -> Self {
        Self::Of {
            setting: setting.into(),
            nth,
            failure: Box::new(self),
        }
    }
}

fn listed(all: &[Failure]) -> String {
    let shown = all.iter().take(FAULTS).map(ToString::to_string);
    let mut texts: Vec<String> = shown.collect();
    if let Some(more) = all.len().checked_sub(FAULTS).filter(|more| *more > 0) {
        texts.push(format!("and {more} more like these"));
    }
    texts.join("; ")
}

/// What is wrong with a configuration, as far as it can be told: one thing does not hide the others.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Failure>,
    /// As they are said: a file that serves two settings is wrong once.
    texts: HashSet<String>,
}

/// How many of a configuration's faults are said.
pub const FAULTS: usize = 100;

impl Findings {
    /// The value, if there is one, or else another finding.
    pub fn take<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.add(failure)).ok()
    }

    /// Another finding.
    pub fn add(&mut self, failure: Failure) {
        match failure {
            Failure::Several(all) => all.into_iter().for_each(|one| self.add(one)),
            one => {
                if self.texts.insert(one.to_string()) {
                    self.found.push(one);
                }
            }
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Ends the search.
    ///
    /// # Errors
    /// All that was found, if there is something.
    pub fn end(mut self) -> Result<(), Failure> {
        if self.found.len() > 1 {
            return Err(Failure::Several(self.found));
        }
        self.found.pop().map_or(Ok(()), Err)
    }

    /// All that was found, of which there is something.
    pub fn failure(self) -> Failure {
        self.end().err().unwrap_or(Failure::Several(Vec::new()))
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::Config(error.to_string())
    }
}

/// Each kind of error has one code.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unavailable(_) | CallError::Overloaded(_) => Self::Unavailable(text),
            CallError::Disconnected(_) | CallError::Protocol(_) | CallError::Canceled => {
                Self::Unavailable(format!(
                    "{text}; whether the call ran is not known, see the callee's log"
                ))
            }
            CallError::Unimplemented(_) => Self::Unavailable(format!(
                "{text}; is it a callee, or a workerd's debug port?"
            )),
            CallError::Deadline(_) => Self::Deadline(text),
            CallError::Arguments(_) => Self::Usage(text),
            // With its properties and its cause, as a console shows it.
            CallError::Thrown(error) => Self::Callee(format!("{error:#}")),
            _ => Self::Callee(text),
        }
    }
}

/// A call that returned, and failed for all that.
impl From<&StatedError> for Failure {
    fn from(error: &StatedError) -> Self {
        Self::Callee(match error.message.is_empty() {
            true => error.kind.clone(),
            false => format!("{}: {}", error.kind, error.message),
        })
    }
}
