//! What the command lines of both programs have in common.

use std::ffi::OsString;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Arg, Command};

pub(crate) use host::values::*;

use crate::kinds;

/// Colours of the help, where a terminal shows them.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Exit codes, for the end of each help.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  ok                                69  cannot connect, or the connection was lost
  1  the callee's error                74  the result could not be written
  2  the command line is wrong         78  the configuration cannot be used
                                      124  no answer before the deadline"
    };
}
pub(crate) use exit_codes;

/// An option as its program's help shows it: without the values of variables, and without the limits, which have a
/// help of their own. Manual pages have them all.
pub(crate) fn in_help(arg: Arg) -> Arg {
    let limit = is_limit(&arg);
    let arg = arg.hide_env_values(true);
    if limit { arg.hide_long_help(true) } else { arg }
}

fn is_limit(arg: &Arg) -> bool {
    let long = arg.get_long().unwrap_or_default();
    long.starts_with("limit-") || kinds::is_limit(long)
}

/// Prints the limits of a command, if its command line asks for them. Whether it did.
pub(crate) fn help_limits(line: &[OsString], command: &Command) -> bool {
    if !line.iter().any(|word| word == "--help-limits") {
        return false;
    }
    let limits = command.get_arguments().filter(|arg| is_limit(arg));
    let shown = limits.map(|arg| {
        let of_kind = kinds::is_limit(arg.get_long().unwrap_or_default());
        let arg = arg.clone().hide_short_help(false).hide_env(true);
        let arg = arg.required(false);
        match of_kind {
            true => arg,
            false => arg.help_heading("Limits"),
        }
    });
    let mut limits = Command::new("limits")
        .styles(STYLES)
        .disable_help_flag(true)
        .help_template("{all-args}\n\n{after-help}")
        .after_help(
            "Each is a variable, too, and a key of the file: BINDING_SPAN_LIMIT_QUEUED and limit-queued are \
             --limit-queued. The manual page says why each is there (--generate man).",
        )
        .args(shown);
    let _ = limits.print_help();
    true
}

/// Removes those variables that these programs read and that are empty: an empty one is as good as none, whatever
/// reads it. For the first line of `main`, while there is one thread.
#[allow(
    unsafe_code,
    reason = "the standard library has no safe way to change variables"
)]
pub(crate) fn forget_empty_variables() {
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|_| value.is_empty()) else {
            continue;
        };
        let ours = ["BINDING_SPAN_", "OTEL_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if ours || VARIABLES.contains(&name) {
            // SAFETY: no other thread has been started, so none reads the environment.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// Variables of others that are read here.
const VARIABLES: [&str; 5] = [
    "RUST_LOG",
    "TRACEPARENT",
    "COLUMNS",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];
