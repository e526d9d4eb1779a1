//! What counts of what was said: an option before its variable, both before the file.

use js_rpc::RpcLimits;

use super::{BindingConfig, CalleeArgs, Config};
use crate::cli;
use crate::config::{File, Loaded, Plan};
use crate::door;
use crate::exit::{Failure, Findings};
use crate::kinds::{self, KindArgs};
use crate::otel;

/// What the file may contain besides the options.
pub(super) fn plan() -> Plan {
    Plan {
        tables: kinds::tables(),
        apart: Vec::new,
    }
}

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
        let bindings = found.take(bindings(&args.kinds, file.as_ref()));
        let bindings = bindings.map(|mut bindings| {
            for each in &mut bindings {
                found.take(each.configured.read_files(&places, args.check_config));
            }
            bindings
        });
        found.take(args.log.check_at(&places));
        let tail = found.take(args.tail.clone().to(&places));
        let parts = (admission, admin, bindings, tail);
        let (Some(admission), Some(admin), Some(bindings), Some(tail)) = parts else {
            return Err(found.failure());
        };
        if let Some(text) = of_one_name(&bindings) {
            found.add(places.lacks(&text));
        }
        let served: Vec<&str> = bindings.iter().map(BindingConfig::name).collect();
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
            let tables = kinds::listed(|kind| kind.help().table);
            let options = kinds::listed(|kind| kind.help().option);
            return lacks(&format!(
                "there is nothing to serve; write {tables}, or {options}"
            ));
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
    let mut found = Findings::default();
    found.take(bindings(&loaded.args.kinds, loaded.file.as_ref()));
    found.end()
}

/// The bindings of all kinds, each kind in the order of the file and then of its options.
fn bindings(args: &KindArgs, file: Option<&File>) -> Result<Vec<BindingConfig>, Failure> {
    let (mut found, mut all) = (Findings::default(), Vec::new());
    for &kind in kinds::all() {
        let configured = found.take(kind.configured(&args.0, file));
        let configured = configured.into_iter().flatten();
        all.extend(configured.map(|configured| BindingConfig { kind, configured }));
    }
    found.end().map(|()| all)
}

/// What is wrong with bindings of one name, if there are some.
fn of_one_name(bindings: &[BindingConfig]) -> Option<String> {
    let twice = cli::twice(bindings.iter().map(BindingConfig::name))?;
    let nouns = bindings.iter().filter(|binding| binding.name() == twice);
    let nouns: Vec<&str> = nouns.map(|binding| binding.kind.noun()).collect();
    Some(format!(
        "{} are both called {twice:?}; give each its own name",
        nouns.join(" and ")
    ))
}
