//! A table of a TOML file, read key by key: each value by the rule of its option, each problem with its
//! place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong in a file, and where: a byte of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) text: String,
}

/// A table whose keys are all known.
pub(super) struct Table<'a> {
    values: &'a DeTable<'a>,
    /// What stands before a key in a message: nothing, or `bind.DB.`.
    path: String,
}

type Found<T> = Result<Option<T>, Problem>;

impl<'a> Table<'a> {
    /// Takes a table; the first key that is not among `known` is a problem.
    pub(super) fn of(
        values: &'a DeTable<'a>,
        path: String,
        known: &[&str],
    ) -> Result<Self, Problem> {
        let unknown = values
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(Self { values, path }),
            Some(key) => Err(Problem {
                at: key.span().start,
                text: unknown_key(&path, key.get_ref(), known),
            }),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.values.get(key)
    }

    fn problem(&self, key: &str, value: &Spanned<DeValue<'_>>, text: &str) -> Problem {
        Problem {
            at: value.span().start,
            text: format!("{}{key}: {text}", self.path),
        }
    }

    /// A text, read by `read`, whose error says what it should be.
    pub(super) fn text<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Found<T> {
        let one = |value| self.one_text(key, value, expected, &read);
        self.find(key).map(one).transpose()
    }

    fn one_text<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        match value.get_ref() {
            DeValue::String(text) => {
                read(text).map_err(|error| self.problem(key, value, &one_line(&error)))
            }
            other => Err(self.problem(key, value, &mismatch(other, expected))),
        }
    }

    /// A text or a list of texts, each read by `read`.
    pub(super) fn texts<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Found<Vec<T>> {
        let one = |value| self.one_text(key, value, expected, &read);
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        let list = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(one).collect(),
            _ => one(value).map(|one| vec![one]),
        };
        list.map(Some)
    }

    /// `true`, `false`, or the words of the options that are on or off.
    pub(super) fn switch(&self, key: &str) -> Found<bool> {
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::Boolean(on) => Ok(*on),
            DeValue::String(text) if text == "on" => Ok(true),
            DeValue::String(text) if text == "off" => Ok(false),
            other => Err(self.problem(key, value, &mismatch(other, "true or false"))),
        };
        self.find(key).map(one).transpose()
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str) -> Found<usize> {
        let one = |value: &Spanned<DeValue<'_>>| {
            let number = match value.get_ref() {
                DeValue::Integer(number) => {
                    usize::from_str_radix(number.as_str(), number.radix()).ok()
                }
                _ => None,
            };
            let expected = "a whole number that is not negative";
            number.ok_or_else(|| self.problem(key, value, &mismatch(value.get_ref(), expected)))
        };
        self.find(key).map(one).transpose()
    }

    /// The tables in a table, by name, in the order in which they were written.
    pub(super) fn tables(
        &self,
        key: &str,
        known: &[&str],
    ) -> Result<Vec<(String, usize, Table<'a>)>, Problem> {
        let Some(value) = self.find(key) else {
            return Ok(Vec::new());
        };
        let expected = format!("a table for each name: [{key}.NAME]");
        let DeValue::Table(tables) = value.get_ref() else {
            return Err(self.problem(key, value, &mismatch(value.get_ref(), &expected)));
        };
        let mut found = Vec::with_capacity(tables.len());
        for (name, table) in tables {
            let (at, name) = (name.span().start, name.get_ref());
            let inner = format!("{}{key}.{name}", self.path);
            let DeValue::Table(values) = table.get_ref() else {
                let text = mismatch(table.get_ref(), &format!("a table: [{inner}]"));
                return Err(Problem {
                    at: table.span().start,
                    text: format!("{inner}: {text}"),
                });
            };
            let table = Table::of(values, format!("{inner}."), known)?;
            found.push((name.to_string(), at, table));
        }
        found.sort_by_key(|(_, at, _)| *at);
        Ok(found)
    }

    /// What is wrong with a value beyond its form.
    pub(super) fn wrong(&self, key: &str, text: &str) -> Problem {
        Problem {
            at: self.find(key).map_or(0, |value| value.span().start),
            text: format!("{}{key}: {text}", self.path),
        }
    }
}

fn mismatch(value: &DeValue<'_>, expected: &str) -> String {
    let found = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    match value {
        DeValue::Integer(number) => format!("write {expected}, not {}", number.as_str()),
        DeValue::String(text) => format!("write {expected}, not {text:?}"),
        _ => format!("write {expected}; this is {found}"),
    }
}

fn unknown_key(path: &str, key: &str, known: &[&str]) -> String {
    let shown: String = key.escape_debug().take(80).collect();
    let plain = key.replace('_', "-").to_lowercase();
    let near = |known: &&str| strsim::damerau_levenshtein(known, &plain);
    let nearest = known.iter().copied().min_by_key(near);
    match nearest.filter(|known| near(known) <= 1 + known.len() / 3) {
        Some(known) => format!("{path}{shown}: there is no such key; did you mean {known}?"),
        None => format!(
            "{path}{shown}: there is no such key; there is: {}",
            known.join(", ")
        ),
    }
}

/// What is said of a file is said in one line.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
