//! What the command lines of both programs have in common.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

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

/// Reads a time span: `500ms`, `5s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a time such as 500ms, 5s or 2m"))
}

/// Reads a time span that is not zero.
pub(crate) fn deadline(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing is done in no time; write a time such as 5s".into()),
        deadline => Ok(deadline),
    }
}

/// Splits `NAME=REST`.
pub(crate) fn named<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => Ok((name, rest)),
        _ => Err(format!("write {form}")),
    }
}

/// A switch that is on or off by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err("write on or off"),
        }
    }
}

/// The name that occurs twice, if one does.
pub(crate) fn twice<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_deadlines_a_length() {
        assert_eq!(deadline("1m 500ms"), Ok(Duration::from_millis(60_500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "-5s", "soon"] {
            assert!(duration(wrong).unwrap_err().contains("500ms"), "{wrong}");
        }
        assert!(deadline("0s").unwrap_err().contains("no time"));
    }

    #[test]
    fn a_name_that_comes_twice_is_found() {
        assert_eq!(twice(["a", "b", "a", "b"]), Some("a"));
        assert_eq!(twice(["a", "b"]), None);
    }
}
