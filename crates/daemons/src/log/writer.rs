//! What stands between a log line and the stream: characters that would do something instead of being
//! seen become escapes.
//!
//! The formatter escapes what begins a terminal's escape sequences, and no more: a newline in a peer's
//! words would begin a line of its own, and an override of the writing direction would show one text for
//! another. Here a line comes as one piece, so that what is within it can be told from its end.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes lines, each in one piece, without hidden characters in them.
pub(super) struct Escaping<W> {
    out: W,
    escape: fn(&str) -> Cow<'_, str>,
}

impl<W: Write> Escaping<W> {
    /// For people. With `colours` the formatter's own sequences pass; those of others never reach this.
    pub(super) fn text(out: W, colours: bool) -> Self {
        let escape: fn(&str) -> Cow<'_, str> = if colours { coloured } else { tail::escape };
        Self { out, escape }
    }

    /// For programs: the escapes are JSON's, so that a reader gets the text as it was.
    pub(super) fn json(out: W) -> Self {
        Self { out, escape: json }
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(piece);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        match (self.escape)(line) {
            Cow::Borrowed(_) => self.out.write_all(piece)?,
            Cow::Owned(mut line) => {
                line.push_str(end);
                self.out.write_all(line.as_bytes())?;
            }
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Leaves the formatter's sequences (`ESC [ digits ; digits m`), which have nothing of a peer in them.
fn coloured(line: &str) -> Cow<'_, str> {
    let mut parts = line.split('\u{1b}');
    let mut out = tail::escape(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let style = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        match style {
            Some((style, rest)) if style.bytes().all(|b| b.is_ascii_digit() || b == b';') => {
                let _ = write!(out, "\u{1b}[{style}m{}", tail::escape(rest));
            }
            _ => {
                let _ = write!(out, "\\u{{1b}}{}", tail::escape(part));
            }
        }
    }
    Cow::Owned(out)
}

/// Hidden characters stand only within strings here, where `\uXXXX` means the same.
fn json(line: &str) -> Cow<'_, str> {
    if matches!(tail::escape(line), Cow::Borrowed(_)) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    let (mut units, mut bytes) = ([0; 2], [0; 4]);
    for c in line.chars() {
        match tail::escape(c.encode_utf8(&mut bytes)) {
            Cow::Borrowed(_) => out.push(c),
            Cow::Owned(_) => {
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(make: impl FnOnce(Vec<u8>) -> Escaping<Vec<u8>>, line: &str) -> String {
        let mut writer = make(Vec::new());
        writer.write_all(line.as_bytes()).unwrap();
        String::from_utf8(writer.out).unwrap()
    }

    const HOSTILE: &str = "a\u{1b}[2J\r\nb\u{202e}c\u{9b}d\u{e0041}\n";

    #[test]
    fn of_a_line_only_its_end_is_a_newline() {
        let text = |line| written(|out| Escaping::text(out, false), line);
        assert_eq!(
            text(HOSTILE),
            "a\\u{1b}[2J\\r\\nb\\u{202e}c\\u{9b}d\\u{e0041}\n"
        );
        assert_eq!(text("plain ünïcode\n"), "plain ünïcode\n");
    }

    #[test]
    fn colours_pass_and_nothing_else_that_begins_like_them() {
        let text = |line| written(|out| Escaping::text(out, true), line);
        assert_eq!(
            text("\u{1b}[2mdim\u{1b}[0m a\nb\u{1b}[2Jc\u{1b}\n"),
            "\u{1b}[2mdim\u{1b}[0m a\\nb\\u{1b}[2Jc\\u{1b}\n"
        );
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let value = serde_json::json!({ "message": HOSTILE });
        let line = written(Escaping::json, &format!("{value}\n"));
        assert_eq!(
            line.matches(|c: char| c.is_control()).count(),
            1,
            "{line:?}"
        );
        assert!(line.is_ascii(), "{line}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            value
        );
    }
}
