//! Bookmarks: how a D1 session says "at least as new as what I saw".
//!
//! Here one file is the primary and there are no replicas, so every call sees every earlier commit and any
//! bookmark is already satisfied. What remains is to give a session a string that grows. Ours is the time,
//! in microseconds since 1970, kept strictly increasing within the process: two groups of 8 hex digits, so
//! that it sorts as text, in D1's manner (D1's has four groups). It means "everything committed before this
//! moment", which stays true across restarts and for commits of other processes, and needs no table in
//! somebody's database.
//!
//! A bookmark of ours that is newer than the clock (the clock was set back, the file moved here) is handed
//! back rather than an older one. D1 does not say what it does with text that is no bookmark; workerd's
//! tests send such text and expect an answer, so it is accepted. Only its length is bounded.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest bookmark or constraint that a call may send, in bytes. D1's own have 59.
pub const MAX_BOOKMARK_BYTES: usize = 256;

/// A moment in a database's history; later ones are greater, as text too.
///
/// ```
/// use bindings::d1::Bookmark;
/// let early: Bookmark = "000645a1-0b2c3d4e".parse().unwrap();
/// let late: Bookmark = "000645a1-0b2c3d4f".parse().unwrap();
/// assert!(early < late && early.to_string() < late.to_string());
/// assert!("first-primary".parse::<Bookmark>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(u64);

impl Bookmark {
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }
}

/// The text is not one of our bookmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a bookmark: two groups of eight lower-case hex digits, such as 000645a1-0b2c3d4e, are expected"
)]
pub struct NotABookmark;

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Bookmark {
    type Err = NotABookmark;

    fn from_str(text: &str) -> Result<Self, NotABookmark> {
        let (high, low) = text.split_once('-').ok_or(NotABookmark)?;
        Ok(Self(u64::from(group(high)?) << 32 | u64::from(group(low)?)))
    }
}

fn group(text: &str) -> Result<u32, NotABookmark> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 8 || !digits {
        return Err(NotABookmark);
    }
    u32::from_str_radix(text, 16).map_err(|_| NotABookmark)
}

/// Gives out bookmarks that only grow.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    /// Later bookmarks are greater than this one, which another process gave out.
    pub(super) fn advance(&self, to: Bookmark) {
        self.0.fetch_max(to.0, Ordering::AcqRel);
    }

    /// A bookmark later than every one before it.
    pub(super) fn tick(&self) -> Bookmark {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| {
                u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
            });
        let next = |last: u64| now.max(last.saturating_add(1));
        let last = match self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)))
        {
            Ok(last) | Err(last) => last,
        };
        Bookmark(next(last))
    }
}

/// What the reply carries: the newer of `now` and what the call sent, if that is a bookmark at all.
pub(super) fn reply_to(sent: Option<&str>, now: Bookmark) -> Bookmark {
    sent.and_then(|text| text.parse().ok())
        .map_or(now, |sent| now.max(sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_grow_even_within_one_microsecond() {
        let clock = Clock::default();
        let ticks: Vec<String> = (0..1000).map(|_| clock.tick().to_string()).collect();
        assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_reply_is_never_older_than_what_was_sent() {
        let now: Bookmark = "00000001-00000000".parse().unwrap();
        let cases = [
            (None, "00000001-00000000"),
            (Some("first-primary"), "00000001-00000000"),
            (Some("first-unconstrained"), "00000001-00000000"),
            (Some("token-doesnot-matter-for-now"), "00000001-00000000"),
            (Some("00000000-ffffffff"), "00000001-00000000"),
            (Some("00000001-00000001"), "00000001-00000001"),
            (Some("00000001-0000000G"), "00000001-00000000"),
            (Some("+0000001-00000002"), "00000001-00000000"),
        ];
        for (sent, expected) in cases {
            assert_eq!(reply_to(sent, now).to_string(), expected, "{sent:?}");
        }
    }
}
