//! A Vectorize index as options and the file have it, and as it is open.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use host::config::{File, Places, Problem, Section};
use host::secret::{self, Source};
use host::values::{self, Sensitive};
use host::{Configured, Failure, Findings, Offered, Opening, escape};
use js_rpc::Bindings;

use super::args::{IndexArgs, OF_POSTGRES, VectorizeArgs};
use super::metrics::Indexes;
use super::place::{Place, describe, table_of};
use crate::vectorize::{IndexOptions, OpenError, PostgresOptions, Store, Vectorize};

/// An index and the binding that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexConfig {
    /// The binding's name.
    binding: String,
    store: Store,
    options: IndexOptions,
    /// Files that its settings name.
    files: Vec<Named>,
}

/// A file that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    /// The setting: `vectorize.DOCS.password-file`.
    setting: String,
    path: PathBuf,
    /// A credential of the service manager, which gave none.
    withheld: bool,
}

/// Bytes of a file with a password or certificates; a system's authorities take some hundred KiB.
const LONGEST: u64 = 16 << 20;

/// An option `--vectorize`.
struct NamedPlace {
    binding: String,
    place: Place,
}

/// The file's indexes, those that options name where these say, and then the others of the options.
pub(super) fn all(args: &VectorizeArgs, file: Option<&File>) -> Result<Vec<IndexConfig>, Failure> {
    let mut found = Findings::default();
    let mut named: Vec<NamedPlace> = Vec::new();
    for text in &args.vectorize {
        named.extend(found.take(option(text)));
    }
    if let Some(name) = values::twice(named.iter().map(|named| named.binding.as_str())) {
        found.add(Failure::Usage(format!(
            "--vectorize names the binding {name:?} twice; give each its own name"
        )));
    }
    let mut indexes = Vec::new();
    for (name, section) in file.into_iter().flat_map(|file| file.tables("vectorize")) {
        let own = |named: &NamedPlace| named.binding == name;
        let place = named.iter().position(own).map(|i| named.remove(i).place);
        let index = IndexConfig::table(name, section, place, args);
        indexes.extend(found.take(index.map_err(|problem| match file {
            Some(file) => file.failure(&problem),
            None => Failure::Config(problem.text),
        })));
    }
    for NamedPlace { binding, place } in named {
        indexes.extend(found.take(IndexConfig::plain(binding, &place, args)));
    }
    found.end()?;
    Ok(indexes)
}

/// Reads an option's text. It may be a URL with a password in it, so it is not repeated.
fn option(Sensitive(text): &Sensitive) -> Result<NamedPlace, Failure> {
    let form = "NAME=PLACE, for instance DOCS=./docs.sqlite,dimensions=768,metric=cosine";
    let wrong = |text: String| Failure::Usage(format!("--vectorize: {text}"));
    let (binding, place) = values::named(text, form).map_err(wrong)?;
    if binding.contains("://") {
        return Err(wrong(format!("write {form}")));
    }
    let place = Place::read(place);
    let place = place.map_err(|text| wrong(format!("{}: {text}", escape(binding))))?;
    Ok(NamedPlace {
        binding: binding.to_owned(),
        place,
    })
}

/// The password that the environment has for whoever names none, as libpq has it.
fn password_of_environment() -> Option<String> {
    let password = std::env::var("PGPASSWORD").ok();
    password.filter(|password| !password.is_empty())
}

impl IndexConfig {
    /// An index without a table of its own.
    fn plain(binding: String, place: &Place, args: &VectorizeArgs) -> Result<Self, Failure> {
        let store = place.store(Some(&table_of(&binding)));
        let mut store = store
            .map_err(|text| Failure::Usage(format!("--vectorize: {}: {text}", escape(&binding))))?;
        if let Store::Postgres(server) = &mut store {
            server.password = password_of_environment();
        }
        let mut options = args.all.options();
        options.create = args.vectorize_create;
        (options.dimensions, options.metric) = (place.dimensions, place.metric);
        Ok(Self {
            binding,
            store,
            options,
            files: Vec::new(),
        })
    }

    /// A table `[vectorize.NAME]`; an option for the same name replaces where it is.
    fn table(
        name: &str,
        section: &Section,
        place: Option<Place>,
        args: &VectorizeArgs,
    ) -> Result<Self, Problem> {
        secret::refuse(
            section,
            &["password", "pass", "user-password"],
            "passwords do not belong into this file; write password-env = \"VARIABLE\", password-file = \"FILE\" or \
             credential = \"NAME\" (of systemd's LoadCredential=) instead",
        )?;
        let own: IndexArgs = section.parse()?;
        let mut options = own.options(&args.all);
        options.create = args.vectorize_create || own.create.is_some_and(|create| create.0);
        let limits = &options.limits;
        if options.metadata_indexes.len() > limits.max_metadata_indexes {
            let most = limits.max_metadata_indexes;
            let text = format!("there can be {most} at most, by max-metadata-indexes");
            return Err(section.wrong("metadata-indexes", &text));
        }
        let properties = options.metadata_indexes.iter();
        if let Some(twice) = values::twice(properties.map(|index| index.property.as_str())) {
            let text = format!("{twice:?} is there twice; leave one of them out");
            return Err(section.wrong("metadata-indexes", &text));
        }
        let default_table = own.table.clone().unwrap_or_else(|| table_of(name));
        if let Some(place) = &place {
            options.dimensions = place.dimensions.or(options.dimensions);
            options.metric = place.metric.or(options.metric);
        }
        let store = match (place, &own.path, &own.url) {
            (Some(place), ..) => place
                .store(Some(&default_table))
                .map_err(|text| section.lacks(&format!("--vectorize: {text}")))?,
            (None, Some(_), Some(_)) => {
                return Err(section.wrong("url", "there is a path already; leave one of them out"));
            }
            (None, Some(path), None) => Store::File(path.clone()),
            (None, None, Some(url)) => {
                let server = PostgresOptions::from_url(&url.0, &default_table);
                Store::Postgres(server.map_err(|text| section.wrong("url", &text))?)
            }
            (None, None, None) => {
                return Err(section.lacks(
                    "there is no `path` and no `url`; write path = \"FILE\" or url = \"postgres://USER@HOST/DATABASE\"",
                ));
            }
        };
        let mut index = Self {
            binding: name.to_owned(),
            store,
            options,
            files: Vec::new(),
        };
        match &mut index.store {
            Store::File(_) => {
                if let Some(key) = OF_POSTGRES.iter().find(|key| section.has(key)) {
                    let text = "this is for an index in PostgreSQL, and this one is in a file; leave it out";
                    return Err(section.wrong(key, text));
                }
            }
            Store::Postgres(server) => index.files = of_server(server, own, section)?,
        }
        Ok(index)
    }

    /// What a new index lacks: the key, and what to write.
    fn lacking(&self) -> Option<(&'static str, String)> {
        let most = self.options.limits.max_dimensions;
        match (self.options.dimensions, self.options.metric) {
            (Some(count), _) if count > most => Some((
                "dimensions",
                format!(
                    "an index that is created has at most {most} dimensions, by max-dimensions"
                ),
            )),
            (Some(_), Some(_)) => None,
            _ => Some((
                "path",
                "an index that is created needs its dimensions and its metric, for instance \
                 dimensions=768,metric=cosine behind its place, or as keys"
                    .to_owned(),
            )),
        }
    }
}

/// What a table has to say of a server: the password, TLS, connections. The files that it names.
fn of_server(
    server: &mut PostgresOptions,
    own: IndexArgs,
    section: &Section,
) -> Result<Vec<Named>, Problem> {
    let mut files = Vec::new();
    let named = |key: &str, path: &Path, withheld: bool| Named {
        setting: section.setting(key),
        path: path.to_owned(),
        withheld,
    };
    let password = secret::find(
        section,
        ("password-env", own.password_env.as_ref()),
        ("password-file", own.password_file.as_ref()),
        ("credential", own.credential.as_ref()),
    )?;
    match password {
        None => server.password = password_of_environment(),
        Some((_, Source::Value(password))) => server.password = Some(password),
        Some((key, Source::File(path))) => {
            files.push(named(key, &path, false));
            server.password_file = Some(path);
        }
        Some((key, Source::Credential(path))) => {
            files.push(named(key, &path, true));
            server.password_file = Some(path);
        }
    }
    server.ssl_mode = own.ssl_mode.unwrap_or(server.ssl_mode);
    if let Some(path) = own.ssl_root_cert {
        files.push(named("ssl-root-cert", &path, false));
        server.ssl_root_cert = Some(path);
    }
    match (own.ssl_cert, own.ssl_key) {
        (Some(certificate), Some(key)) => {
            files.push(named("ssl-cert", &certificate, false));
            files.push(named("ssl-key", &key, false));
            server.ssl_identity = Some((certificate, key));
        }
        (None, None) => {}
        (Some(_), None) => {
            return Err(section.wrong("ssl-cert", "it needs ssl-key, the file of its key"));
        }
        (None, Some(_)) => {
            return Err(section.wrong("ssl-key", "it needs ssl-cert, the file of its certificate"));
        }
    }
    server.max_connections = own.max_connections.unwrap_or(server.max_connections);
    server.connect_timeout = own.connect_timeout.unwrap_or(server.connect_timeout);
    Ok(files)
}

#[async_trait(?Send)]
impl Configured for IndexConfig {
    fn name(&self) -> &str {
        &self.binding
    }

    /// Whether both are the same binding of the same index, within the same bounds.
    fn is_same(&self, other: &dyn Configured) -> bool {
        let Some(other) = other.downcast_ref::<Self>() else {
            return false;
        };
        let mut same = other.clone();
        // It matters only where there is no index.
        same.options.create = self.options.create;
        *self == same
    }

    /// Whether the files can be read. What is in them is read when they are used.
    fn read_files(&mut self, places: &Places, check: bool) -> Result<(), Failure> {
        let mut found = Findings::default();
        for Named {
            setting,
            path,
            withheld,
        } in &self.files
        {
            let read = match (withheld, check) {
                (true, true) => continue,
                (true, false) => Err(secret::no_credentials("password-file")),
                (false, _) => readable(path),
            };
            if let Err(text) = read {
                found.add(Failure::Config(text).of(setting, 0));
            }
        }
        let read = found.end();
        read.map_err(|failure| places.blame(&[], None, failure))
    }

    fn check(&self, places: &Places) -> Result<(), Failure> {
        let Store::File(path) = &self.store else {
            return Ok(());
        };
        let setting = |key: &str| format!("vectorize.{}.{key}", self.binding);
        let wrong = |key: &str, text: String| {
            let text = format!("the Vectorize index {}: {text}", self.binding);
            let (key, at) = (setting(key), setting("path"));
            Err(places.blame(&[&key, &at, "vectorize"], Some(&key), Failure::Config(text)))
        };
        let shown = path.display();
        if path.is_file() {
            return Ok(());
        }
        if path.exists() {
            return wrong(
                "path",
                format!("{shown} is not a file; give the path of one"),
            );
        }
        if !self.options.create {
            return wrong(
                "path",
                format!(
                    "{shown} is no file; create it: say --vectorize-create or create = true, with dimensions and metric"
                ),
            );
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return wrong(
                "path",
                format!("{shown} cannot be created: its folder does not exist; create it first"),
            );
        }
        match self.lacking() {
            None => Ok(()),
            Some((key, text)) => wrong(key, format!("{shown}: {text}")),
        }
    }

    fn unchecked(&self) -> Vec<String> {
        let withheld = self.files.iter().filter(|file| file.withheld);
        withheld.map(|file| file.setting.clone()).collect()
    }

    async fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Offered>, Failure> {
        let indexes = opening.meter.downcast_ref::<Indexes>();
        let sink = indexes.and_then(|indexes| indexes.sink(&self.binding));
        let (store, options) = (self.store.clone(), self.options.clone());
        let opened = Vectorize::open(self.binding.clone(), store, options, sink).await;
        let index = opened.map_err(|error| {
            let text = format!("the Vectorize index {}: {error}", self.binding);
            match (&self.store, error) {
                (Store::Postgres(_), OpenError::Store(_)) => Failure::Unavailable(text),
                _ => Failure::Config(text),
            }
        })?;
        let what = format!("Vectorize, {}", describe(&self.store));
        Ok(Box::new(Open { index, what }))
    }
}

/// Whether a file can be read and has something in it.
fn readable(path: &Path) -> Result<(), String> {
    match js_rpc::read_file(path, LONGEST) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Err("the file that it names is empty".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the file that it names cannot be read: {error}")),
    }
}

/// An index that is open.
pub(super) struct Open {
    pub(super) index: Vectorize,
    what: String,
}

#[async_trait(?Send)]
impl Offered for Open {
    fn describe(&self) -> String {
        self.what.clone()
    }

    fn serve(&self, name: &str, bindings: &Bindings) {
        bindings.service(name, self.index.clone());
    }

    async fn reopen(&self) -> Option<Result<(), String>> {
        self.index.status().failing?;
        Some(self.index.reopen().await)
    }

    async fn close(&self) {
        self.index.close().await;
    }
}
