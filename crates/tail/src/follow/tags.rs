//! Attributes as a line: which of them, and as many as fit.

use std::time::SystemTime;

use binding_span::wire::DROPPED_KEY;
use binding_span::{Attribute, AttributeValue};
use unicode_width::UnicodeWidthStr;

use super::lines::{Key, PLAIN, SpanLines, VALUES};
use super::words::{beginning, is_constant, is_protocol, is_statement};
use crate::paint::{self, DIM, KEY, WARN};
use crate::{ERROR_TYPE, SPAN_NAME, text};

/// Characters of a statement that are shown.
const STATEMENT: usize = 60;
/// Columns that the beginning of a value must have, to be worth showing.
const LEAST: usize = 6;
/// Attributes that one line shows at most.
const FOLD: usize = 16;

impl SpanLines {
    pub(super) fn attributes(&mut self, key: Key, attributes: &[Attribute], time: SystemTime) {
        if self.opening.take().is_some() {
            self.opened(key, Some(attributes));
        }
        let renames = attributes.iter().filter(|a| a.key == SPAN_NAME);
        for name in renames.filter_map(|a| a.value.as_str()) {
            self.renamed(key, name, time);
        }
        let verbose = self.style.verbose;
        let mut told: Vec<&Attribute> = attributes
            .iter()
            .filter(|a| a.key != SPAN_NAME && a.key != DROPPED_KEY)
            .filter(|a| verbose || !is_protocol(&a.key))
            .collect();
        // What went wrong is not what gives way where a line ends, nor is what was done.
        told.sort_by_key(|a| match &*a.key {
            ERROR_TYPE => 0,
            _ if verbose => 1,
            key if is_statement(key) => 1,
            key if !is_constant(key) => 2,
            _ => 3,
        });
        match &told[..] {
            [] => {}
            all if verbose => all.iter().for_each(|a| self.tags(key, &[a], time)),
            [one] if one.key == ERROR_TYPE => {
                self.failing = Some((key, Attribute::clone(one), time));
            }
            all => self.tags(key, all, time),
        }
        if let Some(dropped) = attributes.iter().find(|a| a.key == DROPPED_KEY) {
            let at = self.at(key, time);
            let mut line = self.line(&at, "│", DIM);
            line.push(WARN, &format!("⚠ enrichment dropped: {}", dropped.value));
            self.out.push(line.finish());
        }
    }

    /// `│ db.query.text = "select 1", db.response.returned_rows = 3, … 9 more`
    pub(super) fn tags(&mut self, key: Key, attributes: &[&Attribute], time: SystemTime) {
        let at = self.at(key, time);
        let mut begun = self.line(&at, "│", DIM);
        let line = &mut begun.line;
        let shown = match self.style.verbose {
            true => attributes.len(),
            // They come last. Where there is nothing else they are better than nothing.
            false => attributes.iter().filter(|a| !is_constant(&a.key)).count(),
        };
        let shown = if shown == 0 { attributes.len() } else { shown };
        for (i, attribute) in attributes.iter().enumerate() {
            let left = attributes.len() - i;
            let rest = match i {
                0 => format!("… {left} attributes"),
                _ => format!(", … {left} more"),
            };
            if i >= shown.min(FOLD) {
                line.push(DIM, &rest);
                break;
            }
            // What follows if it is shown, and the line's own column, to say that it was cut.
            let after = match left - 1 {
                0 => 1,
                more => format!(", … {more} more").width() + 1,
            };
            let (name, value) = (self.name(&attribute.key), self.value(attribute));
            let comma = if i == 0 { "" } else { ", " };
            let fits = line.fits(&format!("{comma}{name} = {value}"), after);
            // Of the first one the beginning is better than nothing.
            let room = line.room(&format!("{comma}{name} = "), after);
            let begins = i == 0 && room.is_some_and(|room| room >= LEAST);
            if !fits && !begins {
                line.push(DIM, &rest);
                break;
            }
            let value = match room {
                Some(room) if !fits => beginning(&value, room),
                _ => value,
            };
            line.push(PLAIN, comma).push(KEY, &name).push(DIM, " = ");
            line.push(paint::value(&attribute.value), &value);
        }
        self.out.push(begun.finish());
    }

    /// A value, shortened.
    fn value(&self, attribute: &Attribute) -> String {
        match &attribute.value {
            AttributeValue::String(text) if is_statement(&attribute.key) && !self.style.verbose => {
                // As it was written it has lines and indentation.
                let words: Vec<&str> = text.split_whitespace().collect();
                text::quote(&words.join(" "), STATEMENT)
            }
            value => text::value(value, self.pick(VALUES)),
        }
    }
}
