//! The lines of a live feed that are not events: what its daemon says about itself and about what the
//! reader lost.
//!
//! `{"feed":{"type":"droppedEvents","count":91}}`. Whoever reads events only leaves out the lines that have
//! a `feed`; empty lines are sent while nothing happens, so that a dead reader is noticed.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Event, InvalidLine, json};

/// What a live feed says besides events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Notice {
    /// The first line: who this is, and where the reader begins.
    Hello {
        /// `caller` or `callee`.
        program: String,
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
        /// This run of the program: hex, another one after a restart.
        instance: String,
        /// The place of the first event after the `begun` ones; each further event, and each that was
        /// dropped, adds one.
        place: u64,
        /// So many events follow first that happened before: how invocations began that are open.
        begun: u64,
        /// So many of the events from `place` on had happened already: the past that was asked for.
        #[serde(default)]
        behind: u64,
        /// When the oldest event happened that the daemon still has.
        #[serde(with = "json::date", default, skip_serializing_if = "Option::is_none")]
        since: Option<SystemTime>,
    },
    /// So many events were gone before this reader took them; those that follow came after them.
    DroppedEvents {
        /// How many.
        count: u64,
    },
    /// The daemon ends in order, and this was everything.
    Goodbye,
    /// Something that this version does not know; never written.
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct Wrapped {
    feed: Notice,
}

impl Notice {
    /// The notice as one line of JSON, without the newline.
    pub fn to_line(&self) -> String {
        let feed = self.clone();
        // It has nothing that could not be written.
        serde_json::to_string(&Wrapped { feed }).unwrap_or_default()
    }
}

/// A line of a live feed.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedLine {
    /// Something happened.
    Event(Event),
    /// The daemon says something.
    Notice(Notice),
}

impl FeedLine {
    /// Reads a line; `None` for an empty one.
    ///
    /// # Errors
    /// When it is neither an event nor a notice.
    pub fn read(line: &str) -> Result<Option<Self>, InvalidLine> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        if line.starts_with(r#"{"feed":"#) {
            let Wrapped { feed } = json::read(line)?;
            return Ok(Some(Self::Notice(feed)));
        }
        Event::from_line(line).map(|event| Some(Self::Event(event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn notices_are_lines_that_are_not_events() {
        let hello = Notice::Hello {
            program: "caller".into(),
            version: "0.1.0".into(),
            pid: 7,
            instance: "00ff".into(),
            place: 12,
            begun: 2,
            behind: 5,
            since: Some(UNIX_EPOCH + Duration::from_millis(1_795_331_894_585)),
        };
        let line = r#"{"feed":{"type":"hello","program":"caller","version":"0.1.0","pid":7,"instance":"00ff","place":12,"begun":2,"behind":5,"since":"2026-11-22T07:18:14.585Z"}}"#;
        assert_eq!(hello.to_line(), line);
        let dropped = Notice::DroppedEvents { count: 91 };
        for notice in [hello, dropped, Notice::Goodbye] {
            let line = notice.to_line();
            assert!(Event::from_line(&line).is_err());
            assert_eq!(
                FeedLine::read(&line).unwrap(),
                Some(FeedLine::Notice(notice))
            );
        }
    }

    #[test]
    fn empty_lines_say_nothing_and_later_notices_are_let_be() {
        assert_eq!(FeedLine::read("\r\n").unwrap(), None);
        let later = r#"{"feed":{"type":"news","of":"tomorrow"}}"#;
        let unknown = FeedLine::Notice(Notice::Unknown);
        assert_eq!(FeedLine::read(later).unwrap(), Some(unknown));
        for wrong in ["{}", "HTTP/1.1 400", r#"{"feed":7}"#] {
            assert!(FeedLine::read(wrong).is_err(), "{wrong}");
        }
    }
}
