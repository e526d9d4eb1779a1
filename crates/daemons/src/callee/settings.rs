//! What counts of what was said: an option before its variable, both before the file.

use js_rpc::RpcLimits;

use super::ai::{NamedAi, TABLES};
use super::args::NamedFile;
use super::{
    AiArgs, AiConfig, BindingConfig, CalleeArgs, Config, DatabaseConfig, DatabaseLimitArgs,
};
use crate::cli;
use crate::config::{File, Loaded, Plan, Tables};
use crate::door;
use crate::exit::{Failure, Findings};
use crate::otel;

/// What the file may contain besides the options.
pub(super) const PLAN: Plan = Plan {
    tables: &[Tables::plain("d1"), TABLES],
    apart: Vec::new,
};

impl Config {
    /// Puts together what options, variables and the file say.
    ///
    /// # Errors
    /// [`Failure::Config`] when the file cannot be used or says too little, [`Failure::Usage`] when the
    /// options contradict each other.
    pub(super) fn new(loaded: Loaded<CalleeArgs>) -> Result<Self, Failure> {
        let Loaded {
            args,
            file,
            places,
            mut found,
            ..
        } = loaded;
        let limits = RpcLimits {
            drain: args.drain,
            ..RpcLimits::default()
        };
        // Each is looked at, so that one does not hide the others.
        let wrong = |failure| places.blame(&door::ADMISSION, None, failure);
        let admission = args.admit.admission(&args.identity).map_err(wrong);
        let mut admission = found.take(admission);
        let admin = admission.as_mut().map(|admission| {
            let admin = args.admin.config(admission);
            admin.map_err(|failure| places.blame(&[], Some("admin"), failure))
        });
        let admin = admin.and_then(|admin| found.take(admin));
        let databases = databases(
            args.databases,
            args.create,
            &args.database_limits,
            file.as_ref(),
        );
        let databases = found.take(databases);
        let ai = found.take(ai(&args.ai, file.as_ref()));
        let ai = ai.map(|mut ai| {
            for each in &mut ai {
                let read = each.read_files(args.check_config);
                found.take(read.map_err(|failure| places.blame(&[], None, failure)));
            }
            ai
        });
        found.take(args.log.check_at(&places));
        let tail = found.take(args.tail.clone().to(&places));
        let parts = (admission, admin, databases, ai, tail);
        let (Some(admission), Some(admin), Some(databases), Some(ai), Some(tail)) = parts else {
            return Err(found.failure());
        };
        let bindings: Vec<BindingConfig> = databases
            .into_iter()
            .map(BindingConfig::D1)
            .chain(ai.into_iter().map(BindingConfig::Ai))
            .collect();
        let served: Vec<&str> = bindings.iter().map(BindingConfig::name).collect();
        if let Some(name) = cli::twice(served.iter().copied()) {
            found.add(places.lacks(&format!(
                "a database and an AI binding are both called {name:?}; give each its own name"
            )));
        }
        let dev = found.take(args.dev.plan(&served, &places)).flatten();
        found.end()?;
        let config = Self {
            admin,
            dev,
            admission,
            limits: args.admit.limits(args.limits.limits(limits)),
            bindings,
            listen: args.listen,
            log: args.log,
            live: args.tail.live(),
            rename: args.tail.rename(),
            tail,
            otel: otel::Plan::from_env(&args.otlp, "callee"),
        };
        let lacks = |what: &str| Err(places.lacks(what));
        if config.bindings.is_empty() {
            return lacks(
                "there is nothing to serve; write [d1.NAME] with path = \"FILE\" or [ai.NAME], or --d1 NAME=FILE \
                 or --ai NAME",
            );
        }
        if config.listen.is_empty() && config.dev.is_none() {
            return lacks(
                "there is nowhere to listen; write listen = [\"ADDR\"], or --listen ADDR",
            );
        }
        Ok(config)
    }
}

/// What is wrong with a file that needs nothing opened to be seen.
pub(super) fn check_text(loaded: &Loaded<CalleeArgs>) -> Result<(), Failure> {
    let Loaded { args, file, .. } = loaded;
    databases(
        args.databases.clone(),
        args.create,
        &args.database_limits,
        file.as_ref(),
    )
    .and_then(|_| ai(&args.ai, file.as_ref()))
    .map(drop)
}

/// The file's AI bindings, and then the others of the options.
fn ai(args: &AiArgs, file: Option<&File>) -> Result<Vec<AiConfig>, Failure> {
    let mut found = Findings::default();
    let options = args.ai.iter().map(NamedAi::read);
    let mut options: Vec<NamedAi> = options.filter_map(|named| found.take(named)).collect();
    if let Some(name) = cli::twice(options.iter().map(|named| named.binding.as_str())) {
        found.add(Failure::Usage(format!(
            "--ai names the binding {name:?} twice; give each its own name"
        )));
    }
    let mut all: Vec<AiConfig> = Vec::new();
    if let Some(file) = file {
        for (name, section) in file.tables("ai") {
            let own = |named: &NamedAi| named.binding == name;
            let said = options.iter().position(own).map(|i| options.remove(i));
            all.extend(found.take(AiConfig::table(name, section, file, said, args)));
        }
    }
    found.end()?;
    let plain = options.into_iter();
    all.extend(plain.map(|named| AiConfig::plain(named, args)));
    let logs = all
        .iter()
        .filter_map(|ai| ai.options.log.as_deref()?.to_str());
    if let Some(log) = cli::twice(logs) {
        return Err(Failure::Config(format!(
            "several AI bindings have the log {log}; give each its own, as `log` in its table"
        )));
    }
    Ok(all)
}

/// The file's databases, those that options name with their paths, and then the others of the options.
fn databases(
    options: Vec<NamedFile>,
    create: bool,
    limits: &DatabaseLimitArgs,
    file: Option<&File>,
) -> Result<Vec<DatabaseConfig>, Failure> {
    if let Some(name) = cli::twice(options.iter().map(|database| database.binding.as_str())) {
        let reason = format!("--d1 names the binding {name:?} twice; give each its own name");
        return Err(Failure::Usage(reason));
    }
    let mut options = options;
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
