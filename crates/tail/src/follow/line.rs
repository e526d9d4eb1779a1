//! One line of text in pieces of different styles, cut where the terminal ends.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::paint::Paint;

/// A line that is being made. Its pieces are fit for a terminal: what peers wrote is escaped before.
#[derive(Debug)]
pub(super) struct Line {
    paint: Paint,
    /// Columns that the terminal has.
    width: Option<usize>,
    used: usize,
    text: String,
    /// Nothing fits any more.
    full: bool,
}

impl Line {
    pub(super) fn new(paint: Paint, width: Option<usize>) -> Self {
        Self {
            paint,
            width,
            used: 0,
            text: String::new(),
            full: false,
        }
    }

    /// Whether a text of so many columns fits, and after it so many more.
    pub(super) fn fits(&self, text: &str, more: usize) -> bool {
        let needed = self.used + text.width() + more;
        !self.full && self.width.is_none_or(|width| needed <= width)
    }

    /// The columns that are left behind a text for another that `more` columns follow; `None` without an end.
    pub(super) fn room(&self, text: &str, more: usize) -> Option<usize> {
        let used = self.used + text.width() + more;
        self.width.map(|width| width.saturating_sub(used))
    }

    /// Keeps columns free for what is put in later, and says where that is.
    pub(super) fn mark(&mut self, columns: usize) -> usize {
        self.used += columns;
        self.text.len()
    }

    /// Adds a piece, or what of it fits and `…`.
    pub(super) fn push(&mut self, style: Style, piece: &str) -> &mut Self {
        if self.full || piece.is_empty() {
            return self;
        }
        // The last column is for the `…`.
        if self.fits(piece, 1) {
            self.used += piece.width();
            self.add(style, piece);
            return self;
        }
        self.full = true;
        let room = self
            .width
            .unwrap_or(usize::MAX)
            .saturating_sub(self.used + 1);
        let mut columns = 0;
        let end = piece.char_indices().find(|(_, c)| {
            columns += c.width().unwrap_or(0);
            columns > room
        });
        let shown = &piece[..end.map_or(piece.len(), |(at, _)| at)];
        self.add(style, &format!("{shown}…"));
        self
    }

    fn add(&mut self, style: Style, piece: &str) {
        let painted = match style == Style::new() {
            true => piece.to_owned(),
            false => self.paint.with(style, piece),
        };
        self.text += &painted;
    }

    /// The line, with its newline.
    pub(super) fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{BAD, GOOD};

    fn cut(width: usize, pieces: &[&str]) -> String {
        let mut line = Line::new(Paint(false), Some(width));
        for piece in pieces {
            line.push(Style::new(), piece);
        }
        line.finish()
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        assert_eq!(cut(8, &["abc", "def"]), "abcdef\n");
        assert_eq!(cut(8, &["abc", "defghi", "j"]), "abcdefg…\n");
        // Wide characters take two columns, and are not halved.
        assert_eq!(cut(8, &["数据数据数据"]), "数据数…\n");
        assert_eq!(cut(7, &["数据数据数据"]), "数据数…\n");
        assert_eq!(cut(6, &["数据数据数据"]), "数据…\n");
        assert_eq!(cut(1, &["数据"]), "…\n");
    }

    #[test]
    fn colours_take_no_room_and_end_with_their_piece() {
        let mut line = Line::new(Paint(true), Some(6));
        line.push(GOOD, "good").push(BAD, "bad");
        assert_eq!(
            line.finish(),
            "\u{1b}[32mgood\u{1b}[0m\u{1b}[1m\u{1b}[31mb…\u{1b}[0m\n"
        );
    }
}
