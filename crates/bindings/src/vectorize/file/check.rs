//! Whether a file is what it should be.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::backup::source;
use super::error::Failure;
use super::property::key_of;
use super::refusal::explain;
use super::schema::{self, Indexed, State, values_of};
use super::select::parse;
use crate::vectorize::options::{Limits, OpenError, Shape};

/// Problems that are listed.
const LISTED: usize = 100;

/// What was found in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its shape, if it has one.
    pub shape: Option<Shape>,
    /// Vectors that were looked at.
    pub vectors: u64,
    /// What is wrong: the first hundred problems. None: it is sound.
    pub problems: Vec<String>,
    /// Problems that are not listed.
    pub more: u64,
}

impl Report {
    fn add(&mut self, problem: String) {
        match self.problems.len() < LISTED {
            true => self.problems.push(problem),
            false => self.more += 1,
        }
    }
}

/// Looks at all of an index, which may be in use: SQLite's own check, and whether each vector is one. Ids and namespaces
/// may be as long as the limits allow.
///
/// # Errors
///
/// There is no index at the path, or it cannot be read at all.
pub fn check(path: &Path, limits: &Limits) -> Result<Report, OpenError> {
    let connection = source(path)?;
    let failed = |error: rusqlite::Error| explain(path, &error);
    let mut report = Report {
        shape: None,
        vectors: 0,
        problems: Vec::new(),
        more: 0,
    };
    // All of it as it is at one time.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let sound = connection
        .prepare("PRAGMA integrity_check(100)")
        .and_then(|mut check| {
            let found = check.query_map((), |row| row.get::<_, String>(0))?;
            found.collect::<Result<Vec<_>, _>>()
        });
    match sound {
        Ok(found) => found
            .into_iter()
            .filter(|line| line != "ok")
            .for_each(|line| report.add(format!("SQLite: {line}"))),
        Err(error) => report.add(format!("SQLite: {error}")),
    }
    if let Err(error) = look(&connection, limits, &mut report) {
        report.add(match error {
            Failure::Sqlite(error) => format!("SQLite: {error}"),
            Failure::Damaged(why) => why,
            Failure::Call(error) => error.text,
        });
    }
    let cache = super::open::cache(path);
    if let Err(error) = std::fs::File::open(&cache)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        report.add(format!(
            "{} cannot be read: {error}; remove it, and it is made again",
            cache.display()
        ));
    }
    Ok(report)
}

fn look(connection: &Connection, limits: &Limits, report: &mut Report) -> Result<(), Failure> {
    let shape = match schema::shape(connection)? {
        Ok(shape) => shape,
        Err(why) => {
            report.add(why);
            return Ok(());
        }
    };
    report.shape = Some(shape);
    let indexes = schema::indexes(connection)?;
    let state = State::read(connection)?;
    let mut read = connection.prepare(
        "SELECT vectors.row, vectors.id, namespaces.name, namespace, changed, metadata, vals FROM vectors \
         LEFT JOIN vals ON vals.row = vectors.row LEFT JOIN namespaces ON namespaces.id = namespace",
    )?;
    let mut find = connection.prepare(
        "SELECT 1 FROM properties WHERE metadata_index = ?1 AND value = ?2 AND row = ?3",
    )?;
    let mut keys: u64 = 0;
    let mut found = read.query(())?;
    while let Some(found) = found.next()? {
        report.vectors += 1;
        let row: i64 = found.get(0)?;
        let mut wrong = Vec::new();
        if u32::try_from(row).is_err() {
            wrong.push("its number is too large".to_owned());
        }
        let id: Option<String> = found.get(1).unwrap_or(None);
        if !id.is_some_and(|id| (1..=limits.max_id_bytes).contains(&id.len())) {
            wrong.push(format!(
                "its id is not from 1 to {} bytes",
                limits.max_id_bytes
            ));
        }
        let namespace: Option<String> = found.get(2)?;
        if found.get::<_, Option<i64>>(3)?.is_some() && namespace.is_none() {
            wrong.push("its namespace does not exist".to_owned());
        }
        if namespace.is_some_and(|name| name.len() > limits.max_namespace_bytes) {
            wrong.push(format!(
                "its namespace is longer than {} bytes",
                limits.max_namespace_bytes
            ));
        }
        if found.get::<_, i64>(4)? > state.changed {
            wrong.push("it was changed after the newest change".to_owned());
        }
        let values: Option<Vec<u8>> = found.get(6).unwrap_or(None);
        match values.and_then(|bytes| values_of(&bytes, shape.dimensions)) {
            None => wrong.push(format!("it does not have {} values", shape.dimensions)),
            Some(values) if values.iter().any(|value| !value.is_finite()) => {
                wrong.push("it has values that are not finite".to_owned());
            }
            Some(_) => {}
        }
        let text: Option<String> = found.get(5)?;
        match text.map(|text| parse(0, &text)).transpose() {
            Ok(metadata) => {
                for Indexed { id, index } in &indexes {
                    let Some(key) = key_of(metadata.as_ref(), &index.property) else {
                        continue;
                    };
                    keys += 1;
                    let there = find.query_row((id, key, row), |_| Ok(())).optional()?;
                    if there.is_none() {
                        wrong.push(format!(
                            "it is not in the metadata index {:?}",
                            index.property
                        ));
                    }
                }
            }
            Err(_) => wrong.push("its metadata is not a JSON object".to_owned()),
        }
        for wrong in wrong {
            report.add(format!("row {row}: {wrong}"));
        }
    }
    counts(connection, &state, keys, report)
}

/// What is counted must be what there is.
fn counts(
    connection: &Connection,
    state: &State,
    keys: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let count = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0));
    let other = "SELECT count(*) FROM namespaces WHERE vectors <> (SELECT count(*) FROM vectors WHERE namespace = namespaces.id)";
    let checks = [
        ("vectors", "SELECT count(*) FROM vectors", state.vectors),
        ("values", "SELECT count(*) FROM vals", state.vectors),
        (
            "namespaces",
            "SELECT count(*) FROM namespaces",
            state.namespaces,
        ),
        (
            "namespaces with other numbers of vectors than they say",
            other,
            0,
        ),
        (
            "keys in metadata indexes",
            "SELECT count(*) FROM properties",
            keys,
        ),
    ];
    for (what, sql, expected) in checks {
        let found = count(sql)?;
        if u64::try_from(found) != Ok(expected) {
            report.add(format!("{found} {what}, and not {expected}"));
        }
    }
    Ok(())
}
