//! A TOML file as sections of keys and values, each with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Entry, Problem, Section, Value, mismatch};

/// A file: what stands outside of all tables, and the tables that have names.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) top: Section,
    pub(crate) tables: Vec<Named>,
}

/// A table `[kind.NAME]`.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) section: Section,
}

impl Document {
    /// Parses a text; what stands in `tables` are tables of tables.
    pub(crate) fn parse(text: &str, tables: &[&str]) -> Result<Self, Problem> {
        let document = DeTable::parse(text).map_err(|error| Problem {
            at: error.span().map_or(0, |span| span.start),
            text: format!("this is not TOML: {}", one_line(error.message())),
            more: Vec::new(),
        })?;
        let table = document.get_ref();
        let is_kind = |key: &str| tables.contains(&key);
        let mut named = Vec::new();
        for (key, value) in table.iter().filter(|(key, _)| is_kind(key.get_ref())) {
            named.append(&mut named_tables(key.get_ref(), value)?);
        }
        named.sort_by_key(|table| table.section.at);
        let mut top = section(String::new(), 0, table);
        top.entries.retain(|entry| !is_kind(&entry.key));
        Ok(Self { top, tables: named })
    }
}

fn named_tables(kind: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Named>, Problem> {
    let DeValue::Table(tables) = value.get_ref() else {
        let expected = format!("a table for each name: [{kind}.NAME]");
        let found = owned(value.get_ref());
        return Err(Problem {
            at: value.span().start,
            text: format!("{kind}: {}", mismatch(&found, &expected)),
            more: Vec::new(),
        });
    };
    let each = tables.iter().map(|(name, table)| {
        let path = format!("{kind}.{}", name.get_ref());
        match table.get_ref() {
            DeValue::Table(values) => Ok(Named {
                kind: kind.to_owned(),
                name: name.get_ref().to_string(),
                section: section(format!("{path}."), name.span().start, values),
            }),
            other => {
                let text = mismatch(
                    &owned(other),
                    &format!("a table: [{}]", path.escape_debug()),
                );
                Err(Problem::named(table.span().start, &path, &text))
            }
        }
    });
    each.collect()
}

fn section(path: String, at: usize, table: &DeTable<'_>) -> Section {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        key_at: key.span().start,
        at: value.span().start,
        value: owned(value.get_ref()),
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_key(|entry| entry.key_at);
    Section { path, at, entries }
}

fn owned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        // Other radixes than ten, and separators, are TOML's.
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            Value::Number(parsed.map_or_else(|_| number.as_str().to_owned(), |n| n.to_string()))
        }
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Array(values) => {
            let each = values.iter();
            Value::List(each.map(|v| (v.span().start, owned(v.get_ref()))).collect())
        }
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// What is said of a file is said in one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
