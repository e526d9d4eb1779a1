//! Where an index is, as a text has it: `./docs.sqlite,dimensions=768,metric=cosine`, or a URL of PostgreSQL.

use std::path::PathBuf;

use crate::vectorize::{Metric, PostgresOptions, Store};

/// A place and what is written behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A file's path, or a URL.
    address: Address,
    /// The table, if it is named.
    pub(super) table: Option<String>,
    /// Dimensions, if they are given.
    pub(super) dimensions: Option<usize>,
    /// The metric, if it is given.
    pub(super) metric: Option<Metric>,
}

#[derive(Clone, PartialEq, Eq)]
enum Address {
    File(PathBuf),
    Postgres(String),
}

/// A URL may have a password in it by mistake.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Postgres(_) => f.write_str("postgres://.."),
        }
    }
}

impl Place {
    /// Reads it. `,KEY=VALUE` at the end are options where the key is one of them; all else is the path. Messages do not
    /// repeat a URL.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (mut rest, mut table, mut dimensions, mut metric) = (text, None, None, None);
        while let Some((before, option)) = rest.rsplit_once(',') {
            let twice = |key: &str| format!("{key} is there twice; leave one of them out");
            match option.split_once('=') {
                Some((key @ "table", value)) => {
                    if table.replace(value.to_owned()).is_some() {
                        return Err(twice(key));
                    }
                }
                Some((key @ "dimensions", value)) => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    let number =
                        number.ok_or("dimensions is a whole number from 1: dimensions=768")?;
                    if dimensions.replace(number).is_some() {
                        return Err(twice(key));
                    }
                }
                Some((key @ "metric", value)) => {
                    let value = value.parse().map_err(|error| format!("metric: {error}"))?;
                    if metric.replace(value).is_some() {
                        return Err(twice(key));
                    }
                }
                _ => break,
            }
            rest = before;
        }
        if rest.is_empty() {
            return Err("there is no file and no URL; write one first".into());
        }
        let address = match rest.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Address::Postgres(rest.to_owned()),
            // Anything else with a scheme is a mistake; it may have a password in it.
            Some(_) => {
                return Err("write the path of a file, or postgres://USER@HOST/DATABASE".into());
            }
            None => Address::File(rest.into()),
        };
        if table.is_some() && matches!(address, Address::File(_)) {
            return Err("an index in a file has no table; leave it out".into());
        }
        Ok(Self {
            address,
            table,
            dimensions,
            metric,
        })
    }

    /// The store of it. `default_table`: where no table is named.
    pub(super) fn store(&self, default_table: Option<&str>) -> Result<Store, String> {
        match &self.address {
            Address::File(path) => Ok(Store::File(path.clone())),
            Address::Postgres(url) => {
                let table = self.table.as_deref().or(default_table);
                let table = table.ok_or("name the table behind the URL: ,table=docs")?;
                PostgresOptions::from_url(url, table).map(Store::Postgres)
            }
        }
    }
}

/// The table of a binding for which none is named: its name in lower case, of letters, digits and `_`.
pub(super) fn table_of(binding: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    let mut table: String = binding.chars().take(60).map(plain).collect();
    if table.starts_with(|c: char| c.is_ascii_digit()) {
        table.insert(0, '_');
    }
    table
}

/// What a store is, for people: without users.
pub(super) fn describe(store: &Store) -> String {
    match store {
        Store::File(path) => path.display().to_string(),
        Store::Postgres(server) => {
            let url = server.url.split_once("://").map_or("", |(_, rest)| rest);
            let place = url.split('?').next().unwrap_or_default();
            let place = place.rsplit('@').next().unwrap_or_default();
            format!("table {} of PostgreSQL at {place}", server.table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_a_path_that_may_have_commas() {
        let place = Place::read("./a,b=c,d.sqlite,dimensions=3,metric=dot-product").unwrap();
        assert_eq!(place.address, Address::File("./a,b=c,d.sqlite".into()));
        assert_eq!(
            (place.dimensions, place.metric),
            (Some(3), Some(Metric::DotProduct))
        );
        let place = Place::read("postgres://me@one,two/rag?sslmode=require,table=rag.docs");
        let Store::Postgres(server) = place.unwrap().store(Some("other")).unwrap() else {
            panic!("a server");
        };
        assert_eq!(server.table, "rag.docs");
        assert_eq!(server.url, "postgres://me@one,two/rag");
    }

    #[test]
    fn what_cannot_be_is_refused_without_a_secret() {
        for (text, says) in [
            ("", "no file and no URL"),
            (",dimensions=3", "no file and no URL"),
            ("a,dimensions=0", "from 1"),
            ("a,dimensions=x", "from 1"),
            ("a,metric=l2", "cosine, euclidean or dot-product"),
            ("a,metric=cosine,metric=cosine", "twice"),
            ("a,table=t", "no table"),
            ("mysql://me:secret@db/x", "postgres://USER"),
        ] {
            let error = Place::read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let place = Place::read("postgres://me:secret@db/x").unwrap();
        assert!(!format!("{place:?}").contains("secret"));
        assert!(!place.store(Some("t")).unwrap_err().contains("secret"));
        let place = Place::read("postgres://me@db/x").unwrap();
        assert!(place.store(None).unwrap_err().contains(",table="));
    }

    #[test]
    fn a_binding_has_a_table_that_needs_no_quotes() {
        for (binding, table) in [
            ("DOCS", "docs"),
            ("my-docs.v2", "my_docs_v2"),
            ("2nd", "_2nd"),
        ] {
            assert_eq!(table_of(binding), table);
        }
    }
}
