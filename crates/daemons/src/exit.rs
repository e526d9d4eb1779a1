//! How a program ends: one line that says what failed, where and what to do, and a code for scripts.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

pub use host::Failure;
pub(crate) use host::Findings;
use host::failure::FAULTS;

use crate::log;

/// Says on the standard output stream that a configuration that was only to be checked can be used.
///
/// # Errors
/// [`Failure::Output`] when that cannot be said.
pub(crate) fn usable(what: &str) -> Result<(), Failure> {
    let said = writeln!(std::io::stdout(), "the configuration can be used: {what}");
    said.map_err(|error| Failure::Output(format!("cannot write to the standard output: {error}")))
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
        Failure::Several(all) => {
            all.iter()
                .take(FAULTS)
                .for_each(|failure| say(program, failure));
            if let Some(more) = all.len().checked_sub(FAULTS).filter(|more| *more > 0) {
                let line = format!("and {more} more like these");
                log::say(program, tracing::Level::ERROR, &line);
            }
        }
        // Words of other processes must not steer the terminal; nobody may be listening there any more.
        Failure::Callee(_) => drop(writeln!(std::io::stderr(), "{}", tail::escape(&text))),
        _ => log::say(program, tracing::Level::ERROR, &text),
    }
}
