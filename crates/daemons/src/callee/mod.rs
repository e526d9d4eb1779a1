//! The program `callee`: serves bindings on sockets until it is told to stop.

mod args;
mod help;
mod offered;
mod plain_urls;
mod reload;
mod settings;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::rc::Rc;

use clap::{CommandFactory, FromArgMatches};
use js_rpc::{Listener, RpcLimits, Server};

use crate::admin::{Admin, AdminConfig};
use crate::config::{self, Places};
use crate::dev_registry::{DevPlan, DevRegistry};
use crate::door::Admission;
use crate::exit::{self, Failure, Findings};
use crate::kinds::{Kinds, Meters};
use crate::listen::{self, Endpoint};
use crate::log::{self, LogArgs};
use crate::otel;
use crate::reload::{Origin, Reloads};
use crate::signals::{Hangup, Shutdown};
use crate::systemd::sockets::Sockets;
use crate::tail_args::{LiveLimits, RenameArg};
use crate::telemetry::{TailTo, Telemetry};
use crate::{cli, generate, kinds, runtime, systemd};

pub use args::CalleeArgs;
pub(crate) use help::usage;
pub use offered::BindingConfig;

use offered::{Open, describe};
use plain_urls::PlainUrls;

/// The program: parses, wires, exits.
pub fn main() -> ExitCode {
    // A worker of a binding: this program again.
    if let Some(worker) = kinds::run_if_asked() {
        return worker;
    }
    // Before anything else: they change the environment, which threads would read.
    cli::forget_empty_variables();
    let sockets = Sockets::inherit();
    let line: Vec<OsString> = std::env::args_os().collect();
    if let Some(done) = generate::requested(&line, CalleeArgs::command) {
        return exit::report("callee", done);
    }
    run(&line, CalleeArgs::command(), sockets)
}

/// The same with other kinds of bindings than those of this project: a program of one's own, with one's own services.
pub fn main_with(kinds: Kinds) -> ExitCode {
    kinds::begin_with(kinds);
    main()
}

/// Serves as a command line says, whose first word is the program's name.
pub(crate) fn run(
    line: &[OsString],
    command: clap::Command,
    sockets: Result<Sockets, Failure>,
) -> ExitCode {
    if cli::help_limits(line, &command) {
        return ExitCode::SUCCESS;
    }
    // What cannot be parsed ends here, and so does a request for help.
    let matches = command.get_matches_from(line);
    let said = CalleeArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    exit::report("callee", start(line, &said.log, sockets))
}

fn start(
    line: &[OsString],
    said: &LogArgs,
    sockets: Result<Sockets, Failure>,
) -> Result<(), Failure> {
    let configured = configured(line);
    // What is wrong with the file is said as the command line says.
    let log = configured.as_ref().map_or(said, |all| &all.config.log);
    log.start("callee")?;
    let (configured, sockets) = (configured?, sockets?);
    match configured.check {
        true => {
            configured.config.otel.check()?;
            configured.config.say_unchecked();
            exit::usable(&format!(
                "serving {}",
                configured.config.served().join(", ")
            ))
        }
        false => runtime::block_on(serve(configured, sockets)),
    }
}

/// Reads a text as if it were the file, as far as nothing has to be opened.
pub(crate) fn check_text(text: &str) -> Result<(), Failure> {
    let loaded = config::load_text(&CalleeArgs::command(), &[], text, settings::plan())?;
    settings::check_text(&loaded)
}

/// What command line, variables and file say, and whether it is only to be checked.
struct Configured {
    config: Config,
    check: bool,
    origin: Origin,
}

/// Reads what `line`, the command line, and the variables and the file say.
fn configured(line: &[OsString]) -> Result<Configured, Failure> {
    let loaded = config::load::<CalleeArgs>(&CalleeArgs::command(), &[], line, settings::plan())?;
    let check = loaded.args.check_config;
    let origin = Origin {
        line: line.to_vec(),
        has_file: loaded.file.is_some(),
        values: loaded.values.clone(),
    };
    let places = loaded.places.clone();
    let config = Config::new(loaded)?;
    let mut found = Findings::default();
    let served = config.served();
    found.take(listen::check_at(
        &places,
        &config.listen,
        &served,
        &config.admission,
    ));
    if check {
        found.take(config.check(&places));
    }
    found.end()?;
    Ok(Configured {
        config,
        check,
        origin,
    })
}

async fn serve(configured: Configured, mut sockets: Sockets) -> Result<(), Failure> {
    let Configured { config, origin, .. } = configured;
    let shutdown = Shutdown::install("callee", config.limits.drain, Hangup::of(origin.has_file))?;
    let (endpoints, admission) = (config.listen.clone(), config.admission.clone());
    let plan = config.dev.clone();
    let mut admin = Admin::new(
        "callee",
        config.admin.as_ref(),
        &config.limits.network.stats,
    );
    let telemetry = Telemetry::new()
        .renames(config.rename)
        .tail(config.tail.as_ref())?;
    let telemetry = telemetry
        .export(&config.otel)?
        .live("callee", config.live, &admin)
        .watched(&admin);
    admin.start(telemetry.pages())?;
    let mut callee = Callee::open(config, telemetry, admin).await?;
    let known = callee.bindings();
    let mut listeners = listen::bind(&endpoints, &known, &admission, &mut sockets).await?;
    let dev = DevRegistry::enter(plan.as_ref(), "callee", &mut listeners, &admission).await?;
    callee.admin.ready();
    callee.announce(&listeners);
    tokio::task::spawn_local(systemd::watchdog());
    let hangups = shutdown.hangups();
    let reloads = Reloads { hangups, origin };
    callee.dev = dev;
    callee.run(listeners, reloads, shutdown.requested()).await
}

/// What a callee serves, and how.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Endpoint>,
    /// Who may connect there.
    pub admission: Admission,
    /// How it is found in local development.
    pub dev: Option<DevPlan>,
    /// The admin port.
    pub admin: Option<AdminConfig>,
    /// What it serves; no name twice.
    pub bindings: Vec<BindingConfig>,
    /// Where tail events of its own spans go.
    pub tail: Option<TailTo>,
    /// How a rename is written there.
    pub rename: RenameArg,
    /// What is exported of them.
    pub otel: otel::Plan,
    /// What is kept of them for live readers.
    pub live: LiveLimits,
    /// How long things may take and how many there may be.
    pub limits: RpcLimits,
    /// What it logs, and how.
    pub log: LogArgs,
}

impl Config {
    /// The names that can be asked for.
    fn served(&self) -> Vec<&str> {
        self.bindings.iter().map(BindingConfig::name).collect()
    }

    /// Says what a check could not look at. systemd gives credentials to a service, and not to its `ExecReload=`.
    fn say_unchecked(&self) {
        for binding in &self.bindings {
            for setting in binding.configured.unchecked() {
                let line = format!("{setting} is not checked: CREDENTIALS_DIRECTORY is not set");
                log::say("callee", tracing::Level::WARN, &line);
            }
        }
    }

    /// Whether the bindings can be there.
    fn check(&self, places: &Places) -> Result<(), Failure> {
        let mut found = Findings::default();
        for binding in &self.bindings {
            found.take(binding.configured.check(places));
        }
        found.end()
    }
}

/// A callee whose bindings are open.
pub struct Callee {
    offered: Vec<Open>,
    meters: Meters,
    telemetry: Telemetry,
    limits: RpcLimits,
    log: LogArgs,
    admin: Admin,
    dev: DevRegistry,
}

impl Callee {
    /// Opens the bindings that the configuration names. Spans go where `telemetry` says.
    ///
    /// # Errors
    /// [`Failure::Config`] says what cannot be opened and why; [`Failure::Unavailable`] what does not answer.
    pub async fn open(config: Config, telemetry: Telemetry, admin: Admin) -> Result<Self, Failure> {
        let (mut offered, meters) = (Vec::new(), admin.meters());
        for binding in config.bindings {
            offered.push(binding.open(&meters).await?);
        }
        Ok(Self {
            offered,
            meters,
            telemetry,
            limits: config.limits,
            log: config.log,
            admin,
            dev: DevRegistry::default(),
        })
    }

    /// The names of what it serves.
    pub fn bindings(&self) -> Vec<&str> {
        self.offered.iter().map(Open::name).collect()
    }

    /// Says, a line for each listener, that it is ready.
    fn announce(&self, listeners: &[Listener]) {
        let served = describe(&self.offered);
        for listener in listeners {
            let at = listen::describe(listener);
            let line = format!("listening on {at}, {served}");
            log::say("callee", tracing::Level::INFO, &line);
        }
        systemd::ready(&served);
    }

    /// Serves until `shutdown` completes and the calls in flight are done.
    ///
    /// # Errors
    /// None at present: what fails, fails for one call.
    pub async fn run(
        self,
        listeners: Vec<Listener>,
        reloads: Reloads,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let limits = self.limits.clone();
        let server = Server::new()
            .sinks(self.telemetry.sinks())
            .limits(limits)
            .count_accepts(&self.admin.doors().rpc);
        let bindings = server.bindings();
        self.offered.iter().for_each(|each| each.serve(&bindings));
        let (telemetry, offered) = (Rc::new(self.telemetry), Rc::new(self.offered.into()));
        let serving = reload::Serving {
            bindings,
            offered: Rc::clone(&offered),
            meters: self.meters,
            dev: self.dev.clone(),
            log: self.log,
            urls: PlainUrls::of_listeners(&listeners),
        };
        serving.show();
        let watching = crate::reload::watch(reloads, Rc::clone(&telemetry), serving);
        let watching = tokio::task::spawn_local(watching);
        let abandoned = server
            .serve(listeners, self.admin.until(self.dev.until(shutdown)))
            .await;
        watching.abort();
        if abandoned > 0 {
            let drain = humantime::format_duration(self.limits.drain);
            tracing::warn!("gave up {abandoned} calls that were not done within {drain}");
        }
        for each in offered.take() {
            each.close().await;
        }
        telemetry.finish().await;
        Ok(())
    }
}
