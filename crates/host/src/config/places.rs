//! Where a file says what counts of it: for problems that show only when all settings are put together, such
//! as an address that is refused or a certificate that cannot be read.

use std::sync::Arc;

use super::section::{Section, Value};
use super::{File, Text};
use crate::failure::Failure;

/// The places of those settings that are as the file says. Without a file there are none.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: Option<Arc<Text>>,
    said: Vec<Said>,
}

/// A value, or one of a list.
#[derive(Debug, Clone)]
struct Said {
    /// Its key, and before it the table: `drain`, `d1.DB.path`.
    key: String,
    /// The byte of the file where it stands.
    at: usize,
    /// Which of its key's values it is.
    nth: usize,
    text: String,
}

impl Places {
    /// Of the keys at the top those that `counts`, and all in tables.
    pub(super) fn of(file: &File, counts: impl Fn(&str) -> bool) -> Self {
        let mut said = Vec::new();
        add(&mut said, &file.document.top, counts);
        add_tables(&mut said, &file.document.top);
        Self {
            file: Some(Arc::clone(&file.text)),
            said,
        }
    }

    /// A failure of one of these settings with its place, if the file says it: of that which the failure knows it
    /// is of, and else of that whose value its text has, or whose option it names, and else of `otherwise`.
    pub fn blame(&self, settings: &[&str], otherwise: Option<&str>, failure: Failure) -> Failure {
        if let Failure::Several(all) = failure {
            let each = all.into_iter();
            return Failure::Several(
                each.map(|one| self.blame(settings, otherwise, one))
                    .collect(),
            );
        }
        let known = match &failure {
            Failure::Of { setting, nth, .. } => Some((setting.as_str(), *nth)),
            _ => None,
        };
        let text = match plain(&failure) {
            Failure::Config(text) | Failure::Usage(text) => text.clone(),
            _ => return failure,
        };
        let all = || self.said.iter();
        let found = match known {
            Some((key, nth)) => all()
                .find(|said| said.key == key && said.nth == nth)
                .or_else(|| all().find(|said| said.key == key)),
            None => {
                let of = |said: &&Said| settings.contains(&said.key.as_str());
                let has_value = |said: &&Said| said.text.len() > 2 && text.contains(&said.text);
                let is_named = |said: &&Said| names(&text, &said.key);
                // Of two values of which one is a part of the other, it is the longer one.
                let longest = |said: &&Said| said.text.len();
                let both = |said: &&Said| has_value(said) && is_named(said);
                all()
                    .filter(of)
                    .find(both)
                    .or_else(|| all().filter(of).filter(has_value).max_by_key(longest))
                    .or_else(|| all().filter(of).find(is_named))
                    .or_else(|| all().find(|said| Some(said.key.as_str()) == otherwise))
            }
        };
        match (found, &self.file) {
            (Some(Said { key, at, .. }), Some(file)) => {
                Failure::Config(format!("{}: {key}: {text}", file.place(*at)))
            }
            _ => failure,
        }
    }

    /// What is missing in the file, if there is one, and else in what the options say.
    pub fn lacks(&self, text: &str) -> Failure {
        Failure::Config(match &self.file {
            Some(file) => format!("{}: {text}", file.path.display()),
            None => text.to_owned(),
        })
    }
}

/// What is wrong, without the setting that it is of.
fn plain(failure: &Failure) -> &Failure {
    match failure {
        Failure::Of { failure, .. } => plain(failure),
        other => other,
    }
}

/// Whether a text names the option of a key, and not only a longer one.
fn names(text: &str, key: &str) -> bool {
    let option = format!("--{key}");
    let mut found = text.match_indices(&option);
    found.any(|(at, _)| {
        let next = text[at + option.len()..].chars().next();
        next.is_none_or(|next| !next.is_ascii_alphanumeric() && next != '-')
    })
}

/// The tables within a section, and those within them.
fn add_tables(said: &mut Vec<Said>, section: &Section) {
    for table in &section.tables {
        add(said, &table.section, |_| true);
        add_tables(said, &table.section);
    }
}

fn add(said: &mut Vec<Said>, section: &Section, counts: impl Fn(&str) -> bool) {
    for entry in section.entries.iter().filter(|entry| counts(&entry.key)) {
        let single = [(entry.at, entry.value.clone())];
        let values: &[(usize, Value)] = match &entry.value {
            Value::List(list) => list,
            _ => &single,
        };
        said.extend(values.iter().enumerate().map(|(nth, (at, value))| Said {
            key: format!("{}{}", section.path, entry.key),
            at: *at,
            nth,
            text: match value {
                Value::Text(text) => text.clone(),
                _ => String::new(),
            },
        }));
    }
}
