//! The program `callee`: serves bindings on sockets until it is told to stop.

mod args;
mod settings;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bindings::d1::{Database, DatabaseOptions};
use clap::{CommandFactory, Parser};
use js_rpc::{Listener, RpcLimits, Server};

use crate::config;
use crate::door::Admission;
use crate::exit::{self, Failure};
use crate::listen::{self, Endpoint};
use crate::log::{self, LogArgs};
use crate::signals::Shutdown;
use crate::systemd::sockets::Sockets;
use crate::telemetry::{TailTo, Telemetry};
use crate::{runtime, systemd};

pub use args::CalleeArgs;

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    // Before anything else: it changes the environment, which threads would read.
    let sockets = Sockets::inherit();
    // What cannot be parsed ends here, and so does a request for help.
    let said = CalleeArgs::parse().log;
    exit::report("callee", start(&said, sockets))
}

fn start(said: &LogArgs, sockets: Result<Sockets, Failure>) -> Result<(), Failure> {
    let line: Vec<OsString> = std::env::args_os().collect();
    let configured = configured(&line);
    // What is wrong with the file is said as the command line says.
    let log = configured.as_ref().map_or(said, |(config, _)| &config.log);
    log.start()?;
    let ((config, check), sockets) = (configured?, sockets?);
    if check {
        return config.databases.iter().try_for_each(DatabaseConfig::check);
    }
    runtime::block_on(serve(config, sockets))
}

/// Reads what `line`, the command line, and the variables and the file say.
fn configured(line: &[OsString]) -> Result<(Config, bool), Failure> {
    let loaded = config::load::<CalleeArgs>(&CalleeArgs::command(), &[], line, settings::PLAN)?;
    let check = loaded.args.check_config;
    let config = Config::new(loaded)?;
    listen::check(&config.listen, &config.served(), &config.admission)?;
    Ok((config, check))
}

async fn serve(config: Config, mut sockets: Sockets) -> Result<(), Failure> {
    let shutdown = Shutdown::install("callee", config.limits.drain)?;
    let (endpoints, admission) = (config.listen.clone(), config.admission.clone());
    let callee = Callee::open(config)?;
    let known = callee.bindings();
    let listeners = listen::bind(&endpoints, &known, &admission, &mut sockets).await?;
    callee.announce(&listeners);
    tokio::task::spawn_local(systemd::watchdog());
    callee.run(listeners, shutdown.requested()).await
}

/// What a callee serves, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Endpoint>,
    /// Who may connect there.
    pub admission: Admission,
    /// The databases; no binding twice.
    pub databases: Vec<DatabaseConfig>,
    /// Where tail events of its own spans go.
    pub tail: Option<TailTo>,
    /// How long things may take and how many there may be.
    pub limits: RpcLimits,
    /// What it logs, and how.
    pub log: LogArgs,
}

impl Config {
    /// The names that can be asked for.
    fn served(&self) -> Vec<&str> {
        let names = self.databases.iter();
        names.map(|database| database.binding.as_str()).collect()
    }
}

/// A database and the binding that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The binding's name.
    pub binding: String,
    /// The SQLite file.
    pub path: PathBuf,
    /// Whether to create the file when there is none.
    pub create: bool,
}

impl DatabaseConfig {
    /// Whether its file can be there, without opening it.
    fn check(&self) -> Result<(), Failure> {
        match self.create || self.path.is_file() {
            true => Ok(()),
            false => Err(Failure::Config(format!(
                "the database {} is not there: {} is no file; create it, or say --d1-create or create = true",
                self.binding,
                self.path.display()
            ))),
        }
    }
}

/// A callee whose databases are open.
pub struct Callee {
    databases: Vec<(DatabaseConfig, Database)>,
    telemetry: Telemetry,
    limits: RpcLimits,
}

impl Callee {
    /// Opens everything that the configuration names.
    ///
    /// # Errors
    /// [`Failure::Config`] says what cannot be opened and why.
    pub fn open(config: Config) -> Result<Self, Failure> {
        let telemetry = Telemetry::new().tail(config.tail.as_ref())?;
        let databases = config.databases.into_iter().map(|database| {
            let options = DatabaseOptions {
                create: database.create,
                ..DatabaseOptions::default()
            };
            match Database::open(&database.path, options) {
                Ok(open) => Ok((database, open)),
                Err(error) => Err(Failure::Config(error.to_string())),
            }
        });
        Ok(Self {
            databases: databases.collect::<Result<_, _>>()?,
            telemetry,
            limits: config.limits,
        })
    }

    /// The names of what it serves.
    pub fn bindings(&self) -> Vec<&str> {
        let names = self.databases.iter();
        names.map(|(config, _)| config.binding.as_str()).collect()
    }

    /// Says, a line for each listener, that it is ready.
    fn announce(&self, listeners: &[Listener]) {
        let served: Vec<String> = self
            .databases
            .iter()
            .map(|(config, _)| format!("{} (D1, {})", config.binding, config.path.display()))
            .collect();
        let served = served.join(", ");
        for listener in listeners {
            let at = listen::describe(listener);
            let line = format!("listening on {at}, serving {served}");
            log::say("callee", tracing::Level::INFO, &line);
        }
        systemd::ready(&format!("serving {served}"));
    }

    /// Serves until `shutdown` completes and the calls in flight are done.
    ///
    /// # Errors
    /// None at present: what fails, fails for one call.
    pub async fn run(
        self,
        listeners: Vec<Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let limits = self.limits.clone();
        let server = Server::new().sinks(self.telemetry.sinks()).limits(limits);
        let server = self.databases.iter().fold(server, |server, (config, db)| {
            server.service(&config.binding, db.clone())
        });
        let abandoned = server.serve(listeners, shutdown).await;
        if abandoned > 0 {
            let drain = humantime::format_duration(self.limits.drain);
            tracing::warn!("gave up {abandoned} calls that were not done within {drain}");
        }
        for (_, database) in &self.databases {
            // A statement that does not end is the system's to end, with the process.
            let _ = tokio::time::timeout(CLOSE, database.close()).await;
        }
        self.telemetry.finish();
        Ok(())
    }
}

/// How long a database may take to finish what it is doing once its callers are gone.
const CLOSE: Duration = Duration::from_secs(2);
