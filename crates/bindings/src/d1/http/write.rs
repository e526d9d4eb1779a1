//! An answer's body, to JSON.

use std::collections::HashMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Rows;
use crate::d1::cell::Cell;
use crate::d1::meta::{Meta, milliseconds};
use crate::d1::options::{Integers, is_exact};
use crate::d1::outcome::QueryResult;

/// One statement's answer as it is written.
pub(super) struct Answer<'a> {
    pub(super) result: &'a QueryResult,
    pub(super) rows: Rows,
    pub(super) integers: Integers,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("success", &true)?;
        let rows = JsonRows {
            result: self.result,
            integers: self.integers,
        };
        match self.rows {
            Rows::Arrays => map.serialize_entry("results", &Columns(rows))?,
            Rows::Objects => map.serialize_entry("results", &Objects(rows))?,
        }
        map.serialize_entry("meta", &JsonMeta::of(&self.result.meta, self.integers))?;
        map.end()
    }
}

#[derive(Clone, Copy)]
struct JsonRows<'a> {
    result: &'a QueryResult,
    integers: Integers,
}

impl<'a> JsonRows<'a> {
    fn cell(self, cell: &'a Cell) -> JsonCell<'a> {
        JsonCell {
            cell,
            integers: self.integers,
        }
    }
}

struct Columns<'a>(JsonRows<'a>);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("columns", &self.0.result.columns)?;
        map.serialize_entry("rows", &Arrays(self.0))?;
        map.end()
    }
}

struct Arrays<'a>(JsonRows<'a>);

impl Serialize for Arrays<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Row<'a>(JsonRows<'a>, &'a [Cell]);
        impl Serialize for Row<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.1.iter().map(|cell| self.0.cell(cell)))
            }
        }
        serializer.collect_seq(self.0.result.rows.iter().map(|row| Row(self.0, row)))
    }
}

struct Objects<'a>(JsonRows<'a>);

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Row<'a>(JsonRows<'a>, &'a [(usize, &'a str)], &'a [Cell]);
        impl Serialize for Row<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self(rows, columns, row) = *self;
                let cells = columns.iter();
                let cells = cells.filter_map(|(at, name)| Some((*name, rows.cell(row.get(*at)?))));
                serializer.collect_map(cells)
            }
        }
        let columns = last_of_each_name(&self.0.result.columns);
        let rows = self.0.result.rows.iter();
        serializer.collect_seq(rows.map(|row| Row(self.0, &columns, row)))
    }
}

/// The names, and the last column that has each.
fn last_of_each_name(columns: &[String]) -> Vec<(usize, &str)> {
    let last = HashMap::<&str, usize>::from_iter(
        columns
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at)),
    );
    let named = columns
        .iter()
        .enumerate()
        .map(|(at, name)| (at, name.as_str()));
    named
        .filter(|(at, name)| last.get(name) == Some(at))
        .collect()
}

struct JsonCell<'a> {
    cell: &'a Cell,
    integers: Integers,
}

impl Serialize for JsonCell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.cell {
            Cell::Null => serializer.serialize_unit(),
            Cell::Integer(value) => JsonInteger(*value, self.integers).serialize(serializer),
            // An infinity, which JSON does not have, becomes null, as in JavaScript.
            Cell::Real(value) => serializer.serialize_f64(*value),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Blob(bytes) => serializer.collect_seq(bytes),
        }
    }
}

/// An integer with all its digits, and as a string if JavaScript's reader would round it and the operator chose that.
struct JsonInteger(i64, Integers);

impl Serialize for JsonInteger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Integers::Text | Integers::BigInt if !is_exact(self.0) => {
                serializer.collect_str(&self.0)
            }
            _ => serializer.serialize_i64(self.0),
        }
    }
}

#[derive(Serialize)]
struct JsonMeta {
    served_by_primary: bool,
    timings: Timings,
    duration: f64,
    rows_read: u64,
    rows_written: u64,
    changes: u64,
    last_row_id: JsonInteger,
    changed_db: bool,
    size_after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounded_integers: Option<u64>,
}

#[derive(Serialize)]
struct Timings {
    sql_duration_ms: f64,
}

impl JsonMeta {
    fn of(meta: &Meta, integers: Integers) -> Self {
        Self {
            served_by_primary: true,
            timings: Timings {
                sql_duration_ms: milliseconds(meta.sql_duration),
            },
            duration: milliseconds(meta.duration),
            rows_read: meta.rows_read,
            rows_written: meta.rows_written,
            changes: meta.changes,
            last_row_id: JsonInteger(meta.last_row_id, integers),
            changed_db: meta.changed_db,
            size_after: meta.size_after,
            rounded_integers: (meta.rounded_integers > 0).then_some(meta.rounded_integers),
        }
    }
}
