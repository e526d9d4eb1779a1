//! Where a file says what counts of it: for problems that show only when all settings are put together, such
//! as an address that is refused or a certificate that cannot be read.

use super::File;
use super::section::{Section, Value};
use crate::exit::Failure;

/// The places of those settings that are as the file says. Without a file there are none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// The file's name.
    file: Option<String>,
    said: Vec<Said>,
}

/// A value, or one of a list.
#[derive(Debug, Clone)]
struct Said {
    /// Its key, and before it the table: `drain`, `d1.DB.path`.
    key: String,
    /// File, line and column.
    at: String,
    text: String,
}

impl Places {
    /// Of the keys at the top those that `counts`, and all in tables.
    pub(super) fn of(file: &File, counts: impl Fn(&str) -> bool) -> Self {
        let mut said = Vec::new();
        add(&mut said, file, &file.document.top, counts);
        for table in &file.document.tables {
            add(&mut said, file, &table.section, |_| true);
        }
        Self {
            file: Some(file.path.display().to_string()),
            said,
        }
    }

    /// A failure of one of these settings with its place, if the file says it: of that whose value the
    /// failure's text has, or whose option it names, and else of `otherwise`.
    pub(crate) fn blame(
        &self,
        settings: &[&str],
        otherwise: Option<&str>,
        failure: Failure,
    ) -> Failure {
        let (Failure::Config(text) | Failure::Usage(text)) = &failure else {
            return failure;
        };
        let of = |said: &&Said| settings.contains(&said.key.as_str());
        let has_value = |said: &&Said| said.text.len() > 2 && text.contains(&said.text);
        let is_named = |said: &&Said| text.contains(&format!("--{}", said.key));
        let all = || self.said.iter();
        let found = all()
            .filter(of)
            .find(has_value)
            .or_else(|| all().filter(of).find(is_named))
            .or_else(|| all().find(|said| Some(said.key.as_str()) == otherwise));
        match found {
            Some(Said { key, at, .. }) => Failure::Config(format!("{at}: {key}: {text}")),
            None => failure,
        }
    }

    /// What is missing in the file, if there is one, and else in what the options say.
    pub(crate) fn lacks(&self, text: &str) -> Failure {
        Failure::Config(match &self.file {
            Some(file) => format!("{file}: {text}"),
            None => text.to_owned(),
        })
    }
}

fn add(said: &mut Vec<Said>, file: &File, section: &Section, counts: impl Fn(&str) -> bool) {
    for entry in section.entries.iter().filter(|entry| counts(&entry.key)) {
        let single = [(entry.at, entry.value.clone())];
        let values: &[(usize, Value)] = match &entry.value {
            Value::List(list) => list,
            _ => &single,
        };
        said.extend(values.iter().map(|(at, value)| Said {
            key: format!("{}{}", section.path, entry.key),
            at: super::shown(&file.path, &file.text, *at),
            text: match value {
                Value::Text(text) => text.clone(),
                _ => String::new(),
            },
        }));
    }
}
