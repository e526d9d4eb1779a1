//! What every test needs: a database in a folder of its own, and short ways to ask it.

use std::path::PathBuf;

use bindings::d1::{
    Cell, Database, DatabaseOptions, Param, Query, QueryError, QueryRequest, QueryResult,
};
use tempfile::TempDir;

/// A database that disappears with the test.
pub struct Fixture {
    pub database: Database,
    pub path: PathBuf,
    _folder: TempDir,
}

pub fn options() -> DatabaseOptions {
    DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    }
}

pub fn database() -> Fixture {
    database_with(options())
}

pub fn database_with(options: DatabaseOptions) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sqlite");
    let database = Database::open(&path, options).unwrap();
    Fixture {
        database,
        path,
        _folder: folder,
    }
}

impl Fixture {
    /// One statement without parameters.
    pub async fn run(&self, sql: &str) -> Result<QueryResult, QueryError> {
        self.bind(sql, []).await
    }

    /// One statement with parameters.
    pub async fn bind<const N: usize>(
        &self,
        sql: &str,
        params: [Param; N],
    ) -> Result<QueryResult, QueryError> {
        let query = Query {
            sql: sql.to_owned(),
            params: params.into(),
        };
        let outcome = self.database.query(query.into()).await?;
        Ok(outcome.results.into_iter().next().unwrap())
    }

    /// Several statements in one call.
    pub async fn batch(&self, statements: &[&str]) -> Result<Vec<QueryResult>, QueryError> {
        let queries: Vec<Query> = statements.iter().map(|sql| Query::new(*sql)).collect();
        Ok(self
            .database
            .query(QueryRequest::from(queries))
            .await?
            .results)
    }

    /// The one value of a result with one row and one column.
    pub async fn value(&self, sql: &str) -> Cell {
        let result = self.run(sql).await.unwrap();
        assert_eq!(result.rows.len(), 1, "{sql}");
        result.rows[0][0].clone()
    }
}

pub fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// Counts to a billion, which takes SQLite far longer than any test waits.
pub const ENDLESS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) from n";
