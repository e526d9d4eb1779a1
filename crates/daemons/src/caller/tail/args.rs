//! The command line of `caller tail`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use js_rpc::Address;
use tail::{AttributeFilter, Filter};

use crate::cli::{self, exit_codes};

/// What `caller tail` follows, and what of it is shown.
#[derive(Debug, Clone, Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES, after_long_help = LONG)]
pub struct FollowArgs {
    /// The admin address of a running caller or callee: what its --admin says, not its --listen
    #[arg(
        long,
        value_name = "ADDR",
        required_unless_present = "file",
        value_parser = admin
    )]
    pub(super) connect: Option<Address>,

    /// Read a file that --tail writes instead, and follow it, also when it is rotated
    #[arg(long, value_name = "FILE", conflicts_with = "connect")]
    pub(super) file: Option<PathBuf>,

    /// Print events as JSON lines instead of lines for people
    #[arg(long)]
    pub(super) json: bool,

    /// Show every attribute on a line of its own, longer values, whole ids
    #[arg(short, long, conflicts_with = "json")]
    pub(super) verbose: bool,

    /// Only spans of bindings like this; in a pattern `*` is any text, `?` one character
    #[arg(long, value_name = "PATTERN", help_heading = "Which spans")]
    binding: Option<String>,

    /// Only spans that have, or had, or get a name like this
    #[arg(long, value_name = "PATTERN", help_heading = "Which spans")]
    name: Option<String>,

    /// Only spans that have or get this attribute; may be repeated
    #[arg(long, value_name = "KEY[=PATTERN]", help_heading = "Which spans", value_parser = attribute)]
    attribute: Vec<AttributeFilter>,

    /// Only spans that take this long or longer
    #[arg(long, value_name = "TIME", help_heading = "Which spans", value_parser = cli::duration)]
    min_duration: Option<Duration>,

    /// Only spans that fail
    #[arg(long, help_heading = "Which spans")]
    errors: bool,

    /// Begin in the past, as far as the daemon remembers it: 10m, or 2026-11-22T07:18:14Z
    #[arg(long, value_name = "TIME", value_parser = cli::since)]
    pub(super) since: Option<SystemTime>,

    /// Show what there is, and end
    #[arg(long)]
    pub(super) no_follow: bool,

    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = cli::deadline)]
    pub(super) limit: Option<Duration>,

    /// End when so many of the spans shown have ended; with --for, exit with 124 if they are fewer
    #[arg(long, value_name = "N", value_parser = cli::positive::<u64>)]
    pub(super) count: Option<u64>,

    /// End when the daemon ends, or the connection is lost, instead of connecting again
    #[arg(long, conflicts_with = "file")]
    pub(super) no_reconnect: bool,
}

impl FollowArgs {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            binding: self.binding.clone(),
            name: self.name.clone(),
            attributes: self.attribute.clone(),
            min_duration: self.min_duration,
            errors: self.errors,
        }
    }
}

fn admin(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(Address::Tls { .. }) => {
            Err("an admin port has no TLS; write unix:/path or host:port".into())
        }
        Ok(address) => Ok(address),
        Err(error) => Err(js_rpc::InvalidAddress::to_string(&error)),
    }
}

fn attribute(text: &str) -> Result<AttributeFilter, String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    match key {
        "" => Err("write KEY, or KEY=PATTERN".into()),
        key => Ok(AttributeFilter {
            key: key.to_owned(),
            value,
        }),
    }
}

pub(crate) const USAGE: &str = "\
caller tail [OPTIONS] --connect <ADDR>
       caller tail [OPTIONS] --file <FILE>";

const EXAMPLES: &str = "\
Examples:
  bspan tail --connect unix:/run/caller-admin.sock
  bspan tail --connect 127.0.0.1:7490 --name 'd1.*' --min-duration 100ms --since 10m

ADDR is what the daemon's --admin says. More with --help.";

const LONG: &str = concat!(
    "\
Examples:
  Follow a daemon that was started with an admin port:
    bspan serve --listen unix:/run/caller.sock --bind DB=unix:/run/callee.sock \\
                 --admin unix:/run/caller-admin.sock
    bspan tail --connect unix:/run/caller-admin.sock

  The failures of the last ten minutes and from now on; slow calls of one binding:
    bspan tail --connect 127.0.0.1:7490 --errors --since 10m
    bspan tail --connect 127.0.0.1:7490 --binding DB --min-duration 250ms

  For a script: the next call that a callee names so, within a minute, as JSON lines:
    bspan tail --connect 127.0.0.1:7490 --json --name 'd1.*' --count 1 --for 1m

  A file, to its end; and as it grows:
    bspan tail --file ./tail.jsonl --no-follow --attribute 'db.namespace=shop'
    bspan tail --file ./tail.jsonl

Each line has its time (UTC), the end of its span's id, and a sign: a span opens with a
circle, is renamed (old -> new) and tagged after a bar, and ends with a dot, how long it took,
and how. All conditions have to be met; a span that meets them later is shown from its
beginning on. A reader that is too slow loses events and is told how many; calls do not wait
for it. When the daemon is gone this connects again and says what may have been missed. Ctrl-C
ends it, with 130; so does nobody reading its output, with 0.

",
    exit_codes!()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_may_have_a_pattern_even_an_empty_one() {
        let read = |text| attribute(text).map(|a| (a.key, a.value));
        let some = |key: &str, value: &str| Ok((key.to_owned(), Some(value.to_owned())));
        assert_eq!(read("rows"), Ok(("rows".to_owned(), None)));
        assert_eq!(read("rows=3"), some("rows", "3"));
        assert_eq!(read("q=a=b"), some("q", "a=b"));
        assert_eq!(read("q="), some("q", ""));
        assert!(read("=3").is_err());
    }
}
