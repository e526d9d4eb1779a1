//! Which rows a namespace and a filter leave.
//!
//! What a metadata index can answer is a range of its keys. For the rest the metadata of the rows that are left is read
//! and looked at. Paths and values never become SQL.

use std::rc::Rc;

use roaring::RoaringBitmap;
use rusqlite::types::Value as Key;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params};

use super::error::{Failure, damaged};
use super::property::{key_of_scalar, matches, range};
use super::schema;
use crate::vectorize::filter::{Clause, Filter, Scalar, Test};
use crate::vectorize::vector::Metadata;

/// Of how many rows one at most is left so that they are looked up one by one, which takes as long for each as some of a
/// scan.
const LOOK_UP: u64 = 4;

/// A set of all rows, only where it is needed.
pub(super) type All<'a> = &'a dyn Fn() -> Rc<RoaringBitmap>;

/// Rows of the namespace that the filter takes; nothing if neither is given.
pub(super) fn rows(
    connection: &Connection,
    namespace: Option<&str>,
    filter: Option<&Filter>,
    all: All<'_>,
) -> Result<Option<RoaringBitmap>, Failure> {
    let mut left = match namespace {
        Some(name) => Some(of_namespace(connection, name)?),
        None => None,
    };
    let Some(filter) = filter else {
        return Ok(left);
    };
    let indexes = schema::indexes(connection)?;
    let mut unindexed = Vec::new();
    for clause in &filter.clauses {
        if left.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(left);
        }
        let name = clause.path.join(".");
        match indexes.iter().find(|of| of.index.property == name) {
            Some(of) => {
                let taken = by_index(connection, of.id, &clause.test, all)?;
                left = Some(match left {
                    Some(left) => left & taken,
                    None => taken,
                });
            }
            None => unindexed.push(clause),
        }
    }
    if unindexed.is_empty() {
        return Ok(left);
    }
    scan(connection, left, &unindexed, all).map(Some)
}

fn of_namespace(connection: &Connection, name: &str) -> Result<RoaringBitmap, Failure> {
    let mut find = connection.prepare_cached("SELECT id FROM namespaces WHERE name = ?1")?;
    let Some(id) = find
        .query_row([name], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok(RoaringBitmap::new());
    };
    let read = connection.prepare_cached("SELECT row FROM vectors WHERE namespace = ?1")?;
    let mut rows = RoaringBitmap::new();
    collect(read, [id], &mut rows)?;
    Ok(rows)
}

/// Reading rows that are no u32 is reading a damaged file.
fn collect(
    mut read: CachedStatement<'_>,
    params: impl Params,
    into: &mut RoaringBitmap,
) -> Result<(), Failure> {
    let mut found = read.query(params)?;
    while let Some(row) = found.next()? {
        into.insert(row.get(0)?);
    }
    Ok(())
}

const EQUAL: &str = "SELECT row FROM properties WHERE metadata_index = ?1 AND value = ?2";
const ANY: &str = "SELECT row FROM properties WHERE metadata_index = ?1";
const FROM: &str =
    "SELECT row FROM properties WHERE metadata_index = ?1 AND value >= ?2 AND value < ?3";
const AFTER: &str =
    "SELECT row FROM properties WHERE metadata_index = ?1 AND value > ?2 AND value < ?3";
const FROM_TO: &str =
    "SELECT row FROM properties WHERE metadata_index = ?1 AND value >= ?2 AND value <= ?3";

fn by_index(
    connection: &Connection,
    index: i64,
    test: &Test,
    all: All<'_>,
) -> Result<RoaringBitmap, Failure> {
    let equal = |to: &Scalar, into: &mut RoaringBitmap| match key_of_scalar(to) {
        Some(key) => collect(connection.prepare_cached(EQUAL)?, (index, key), into),
        None => {
            let mut with = RoaringBitmap::new();
            collect(connection.prepare_cached(ANY)?, [index], &mut with)?;
            *into |= &*all() - with;
            Ok(())
        }
    };
    let one_of = |list: &[Scalar]| {
        let mut rows = RoaringBitmap::new();
        for to in list {
            equal(to, &mut rows)?;
        }
        Ok::<_, Failure>(rows)
    };
    let between = |to: &Scalar, sql: &str, bounds: fn((Key, Key), Key) -> (Key, Key)| {
        let mut rows = RoaringBitmap::new();
        if let Some((range, key)) = range(to).zip(key_of_scalar(to)) {
            let (from, until) = bounds(range, key);
            let read = connection.prepare_cached(sql)?;
            collect(read, (index, from, until), &mut rows)?;
        }
        Ok(rows)
    };
    match test {
        Test::Equal(to) => one_of(std::slice::from_ref(to)),
        Test::NotEqual(to) => Ok(&*all() - one_of(std::slice::from_ref(to))?),
        Test::In(list) => one_of(list),
        Test::NotIn(list) => Ok(&*all() - one_of(list)?),
        // Nothing is less than null, but it is as much as itself.
        Test::LessOrEqual(Scalar::Null) | Test::GreaterOrEqual(Scalar::Null) => {
            one_of(&[Scalar::Null])
        }
        Test::Less(to) => between(to, FROM, |range, key| (range.0, key)),
        Test::LessOrEqual(to) => between(to, FROM_TO, |range, key| (range.0, key)),
        Test::Greater(to) => between(to, AFTER, |range, key| (key, range.1)),
        Test::GreaterOrEqual(to) => between(to, FROM, |range, key| (key, range.1)),
    }
}

fn scan(
    connection: &Connection,
    left: Option<RoaringBitmap>,
    clauses: &[&Clause],
    all: All<'_>,
) -> Result<RoaringBitmap, Failure> {
    let takes = |row: u32, metadata: Option<&str>| -> Result<bool, Failure> {
        let metadata = match metadata {
            Some(text) => parse(row, text)?,
            None => Metadata::new(),
        };
        Ok(clauses.iter().all(|clause| matches(clause, &metadata)))
    };
    let mut taken = RoaringBitmap::new();
    if let Some(left) = left
        .as_ref()
        .filter(|left| left.len() * LOOK_UP < all().len())
    {
        let mut read = connection.prepare_cached("SELECT metadata FROM vectors WHERE row = ?1")?;
        for row in left {
            let mut found = read.query([row])?;
            if let Some(found) = found.next()?
                && takes(row, found.get_ref(0)?.as_str_or_null().map_err(damaged)?)?
            {
                taken.insert(row);
            }
        }
        return Ok(taken);
    }
    let mut read = connection.prepare_cached("SELECT row, metadata FROM vectors")?;
    let mut found = read.query(())?;
    while let Some(found) = found.next()? {
        let row: u32 = found.get(0)?;
        let wanted = left.as_ref().is_none_or(|left| left.contains(row));
        if wanted && takes(row, found.get_ref(1)?.as_str_or_null().map_err(damaged)?)? {
            taken.insert(row);
        }
    }
    Ok(taken)
}

/// Metadata as it is stored.
pub(super) fn parse(row: u32, text: &str) -> Result<Metadata, Failure> {
    serde_json::from_str(text).map_err(|error| damaged(format!("metadata of row {row}: {error}")))
}
