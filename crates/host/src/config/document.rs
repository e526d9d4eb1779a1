//! A TOML file as sections of keys and values, each with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Tables;
use super::section::{Entry, Named, Problem, Section, Value, mismatch};

/// A file: what stands outside of all tables, with the tables that have names within it.
#[derive(Debug)]
pub struct Document {
    pub top: Section,
}

impl Document {
    /// Parses a text; what stands in `tables` are tables of tables.
    pub fn parse(text: &str, tables: &'static [Tables]) -> Result<Self, Problem> {
        let document = DeTable::parse(text).map_err(|error| Problem {
            at: error.span().map_or(0, |span| span.start),
            text: format!("this is not TOML: {}", one_line(error.message())),
            more: Vec::new(),
        })?;
        let top = section(String::new(), 0, document.get_ref(), tables)?;
        Ok(Self { top })
    }
}

/// The tables `[path.NAME]`, and what stands within each.
fn named_tables(
    path: &str,
    kind: &'static Tables,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<Named>, Problem> {
    let DeValue::Table(tables) = value.get_ref() else {
        let expected = format!("a table for each name: [{}.NAME]", path.escape_debug());
        let text = no_table(value.get_ref(), &expected);
        return Err(Problem::named(value.span().start, path, &text));
    };
    let each = tables.iter().map(|(name, table)| {
        let path = format!("{path}.{}", name.get_ref());
        let DeValue::Table(values) = table.get_ref() else {
            let expected = format!("a table: [{}]", path.escape_debug());
            let text = no_table(table.get_ref(), &expected);
            return Err(Problem::named(table.span().start, &path, &text));
        };
        Ok(Named {
            kind: kind.kind,
            name: name.get_ref().to_string(),
            section: section(format!("{path}."), name.span().start, values, kind.within)?,
        })
    });
    each.collect()
}

/// What stands where a table should. A text is not repeated: it may be a secret.
fn no_table(value: &DeValue<'_>, expected: &str) -> String {
    let value = match owned(value) {
        Value::Text(_) => Value::Other("a text"),
        other => other,
    };
    mismatch(&value, expected)
}

fn section(
    path: String,
    at: usize,
    table: &DeTable<'_>,
    within: &'static [Tables],
) -> Result<Section, Problem> {
    let kind_of = |key: &str| within.iter().find(|tables| tables.kind == key);
    let mut tables = Vec::new();
    for (key, value) in table.iter() {
        if let Some(kind) = kind_of(key.get_ref()) {
            let path = format!("{path}{}", kind.kind);
            tables.append(&mut named_tables(&path, kind, value)?);
        }
    }
    tables.sort_by_key(|table| table.section.at);
    let others = table.iter();
    let others = others.filter(|(key, _)| kind_of(key.get_ref()).is_none());
    let entries = others.map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        key_at: key.span().start,
        at: value.span().start,
        value: owned(value.get_ref()),
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_key(|entry| entry.key_at);
    Ok(Section {
        path,
        at,
        entries,
        within,
        tables,
    })
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
