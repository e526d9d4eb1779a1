//! A D1 binding as options and the file say it, and as it is open.

use std::path::PathBuf;

use async_trait::async_trait;
use host::config::{File, Places, Problem, Section};
use host::{Configured, Failure, Findings, Offered, Opening, values};
use js_rpc::Bindings;

use super::args::{D1Args, DatabaseArgs, DatabaseLimitArgs, NamedFile};
use crate::d1::{DatabaseOptions, IsolatedDatabase, Isolation};

/// A database and the binding that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseConfig {
    /// The binding's name.
    binding: String,
    /// The SQLite file.
    path: PathBuf,
    /// What calls may take, and whether the file is created when there is none.
    options: DatabaseOptions,
    /// Memory of each process that opens it, in bytes.
    memory: u64,
}

/// The file's databases, those that options name with their paths, and then the others of the options.
pub(super) fn all(args: D1Args, file: Option<&File>) -> Result<Vec<DatabaseConfig>, Failure> {
    let (mut options, create, limits) = (args.d1, args.d1_create, &args.limits);
    if let Some(name) = values::twice(options.iter().map(|database| database.binding.as_str())) {
        let reason = format!("--d1 names the binding {name:?} twice; give each its own name");
        return Err(Failure::Usage(reason));
    }
    let mut found = Findings::default();
    let mut databases = Vec::new();
    for (name, section) in file.into_iter().flat_map(|file| file.tables("d1")) {
        let own = |database: &NamedFile| database.binding == name;
        let said = options.iter().position(own).map(|i| options.remove(i).path);
        let database = DatabaseConfig::table(name, section, said, create, limits);
        let database = database.map_err(|problem| match file {
            Some(file) => file.failure(&problem),
            None => Failure::Config(problem.text),
        });
        databases.extend(found.take(database));
    }
    found.end()?;
    let more = options.into_iter();
    databases.extend(
        more.map(|NamedFile { binding, path }| {
            DatabaseConfig::plain(binding, path, create, limits)
        }),
    );
    Ok(databases)
}

impl DatabaseConfig {
    /// A database without a table of its own.
    fn plain(binding: String, path: PathBuf, create: bool, limits: &DatabaseLimitArgs) -> Self {
        let (options, isolation) = limits.options(create);
        Self {
            binding,
            path,
            options,
            memory: isolation.memory,
        }
    }

    /// A table `[d1.NAME]`; an option for the same name replaces its file.
    fn table(
        name: &str,
        section: &Section,
        path: Option<PathBuf>,
        create: bool,
        limits: &DatabaseLimitArgs,
    ) -> Result<Self, Problem> {
        let mut own: DatabaseArgs = section.parse()?;
        let lacks = || section.lacks("there is no `path`; write path = \"FILE\"");
        let path = path.or(own.path.take()).ok_or_else(lacks)?;
        let create = create || own.create.is_some_and(|switch| switch.0);
        let limits = limits.or(own.limits());
        Ok(Self::plain(name.to_owned(), path, create, &limits))
    }
}

#[async_trait(?Send)]
impl Configured for DatabaseConfig {
    fn name(&self) -> &str {
        &self.binding
    }

    /// Whether both are the same binding on the same file, within the same bounds.
    fn is_same(&self, other: &dyn Configured) -> bool {
        let Some(other) = other.downcast_ref::<Self>() else {
            return false;
        };
        let mut same = other.clone();
        // It matters only where there is no file.
        same.options.create = self.options.create;
        *self == same
    }

    fn check(&self, places: &Places) -> Result<(), Failure> {
        if self.options.create || self.path.is_file() {
            return Ok(());
        }
        let failure = Failure::Config(format!(
            "the database {} is not there: {} is no file; create it, or say --d1-create or create = true",
            self.binding,
            self.path.display()
        ));
        let path = format!("d1.{}.path", self.binding);
        Err(places.blame(&[&path, "d1"], None, failure))
    }

    /// Opens the file, in processes of its own.
    async fn open(&self, _opening: &Opening<'_>) -> Result<Box<dyn Offered>, Failure> {
        let isolation = Isolation {
            memory: self.memory,
            ..Isolation::default()
        };
        let options = self.options.clone();
        let opened = IsolatedDatabase::open(&self.path, options, isolation).await;
        let database = opened.map_err(|error| Failure::Config(error.to_string()))?;
        let what = format!("D1, {}", self.path.display());
        Ok(Box::new(Open { database, what }))
    }
}

/// A database that is open.
pub(super) struct Open {
    pub(super) database: IsolatedDatabase,
    what: String,
}

#[async_trait(?Send)]
impl Offered for Open {
    fn describe(&self) -> String {
        self.what.clone()
    }

    fn serve(&self, name: &str, bindings: &Bindings) {
        bindings.service(name, self.database.clone());
    }

    async fn reopen(&self) -> Option<Result<(), String>> {
        self.database.status().failing()?;
        let opened = self.database.reopen().await;
        Some(opened.map_err(|why| why.to_string()))
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
