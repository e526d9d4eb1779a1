//! How a program ends: one line that says what failed, where and what to do, and a code for scripts.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use binding_span::StatedError;
use js_rpc::{BindError, CallError};

use crate::log;

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
    /// A signal ended it; the signal's number. Code 128 and that.
    #[error("interrupted")]
    Signal(u8),
}

impl Failure {
    /// The exit code, where there is a choice that of `sysexits.h` or of the shell.
    pub const fn code(&self) -> u8 {
        match self {
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

/// How long the end of a program waits for its log.
const LOG: Duration = Duration::from_secs(1);

/// Says what failed, on the standard error stream, and gives the code: the last thing that a program does.
///
/// What the callee threw is printed as JavaScript prints it, anything else behind the program's name.
pub fn report(program: &str, outcome: Result<(), Failure>) -> ExitCode {
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(program, &failure);
            ExitCode::from(failure.code())
        }
    };
    log::end(LOG);
    code
}

fn say(program: &str, failure: &Failure) {
    let text = failure.to_string();
    match failure {
        // Words of other processes must not steer the terminal; nobody may be listening there any more.
        Failure::Callee(_) => drop(writeln!(std::io::stderr(), "{}", tail::escape(&text))),
        _ => log::say(program, tracing::Level::ERROR, &text),
    }
}
