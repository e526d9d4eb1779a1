//! Metadata indexes as they are made and removed.

use rusqlite::Connection;

use super::error::Failure;
use super::property::key_of;
use super::schema;
use super::select::parse;
use crate::vectorize::options::MetadataIndex;

/// Makes those that are missing, for all vectors that there are, and removes all others. If none is asked for, those
/// that there are stay: who copies or checks an index does not have to know them.
pub(super) fn configure(connection: &Connection, wanted: &[MetadataIndex]) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    for old in schema::indexes(connection)? {
        let same = |index: &&MetadataIndex| index.property == old.index.property;
        match wanted.iter().find(same) {
            // All types are in each index: it is as good for another one.
            Some(index) => {
                let change = "UPDATE metadata_indexes SET kind = ?2 WHERE id = ?1 AND kind <> ?2";
                connection.execute(change, (old.id, index.kind.name()))?;
            }
            None => {
                let remove = "DELETE FROM properties WHERE metadata_index = ?1";
                connection.execute(remove, [old.id])?;
                connection.execute("DELETE FROM metadata_indexes WHERE id = ?1", [old.id])?;
            }
        }
    }
    let there = schema::indexes(connection)?;
    let is_new = |index: &&MetadataIndex| {
        let mut there = there.iter();
        there.all(|old| old.index.property != index.property)
    };
    let mut new = Vec::new();
    for index in wanted.iter().filter(is_new) {
        let add = "INSERT INTO metadata_indexes (property, kind) VALUES (?1, ?2)";
        connection.execute(add, (&index.property, index.kind.name()))?;
        new.push((connection.last_insert_rowid(), index.property.as_str()));
    }
    if new.is_empty() {
        return Ok(());
    }
    let mut read =
        connection.prepare("SELECT row, metadata FROM vectors WHERE metadata IS NOT NULL")?;
    let mut add = connection
        .prepare("INSERT INTO properties (metadata_index, value, row) VALUES (?1, ?2, ?3)")?;
    let mut found = read.query(())?;
    while let Some(found) = found.next()? {
        let row: u32 = found.get(0)?;
        let metadata = parse(row, &found.get::<_, String>(1)?)?;
        for (index, property) in &new {
            if let Some(key) = key_of(Some(&metadata), property) {
                add.execute((index, key, row))?;
            }
        }
    }
    Ok(())
}
