//! What counts of what was said: an option before its variable, both before the file, and for one binding
//! its own table before the rest of the file.

use std::time::Duration;

use binding_span::{DENIED_PREFIXES, MAX_DISTINCT_NAMES, PolicyConfig, Rename};
use js_rpc::{Address, Forward, RpcLimits};

use super::args::ServeArgs;
use super::file::{Binding, File};
use super::http::HttpConfig;
use super::{Bound, Config};
use crate::cli;
use crate::exit::Failure;

/// A binding and where its calls go: `NAME=ADDR#REMOTE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) remote: String,
}

/// How far a callee is trusted and awaited, as far as somebody said.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    pub(super) rename: Option<Rename>,
    pub(super) attributes: Option<bool>,
    /// Besides those that are always denied. These add up: nobody can allow what another denied.
    pub(super) deny: Vec<String>,
    pub(super) max_names: Option<usize>,
    pub(super) forward: Option<Forward>,
    pub(super) deadline: Option<Duration>,
}

const DEADLINE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);

impl Trust {
    /// What this says, and where it says nothing what `other` says.
    fn or(self, other: &Self) -> Self {
        Self {
            rename: self.rename.or_else(|| other.rename.clone()),
            attributes: self.attributes.or(other.attributes),
            deny: self.deny.into_iter().chain(other.deny.clone()).collect(),
            max_names: self.max_names.or(other.max_names),
            forward: self.forward.or(other.forward),
            deadline: self.deadline.or(other.deadline),
        }
    }

    fn bound(self, target: Target, connect_name: Option<String>) -> Bound {
        let denied = DENIED_PREFIXES.map(String::from).into_iter();
        Bound {
            name: target.name,
            address: target.address,
            remote: target.remote,
            connect_name,
            forward: self.forward.unwrap_or_default(),
            deadline: self.deadline.unwrap_or(DEADLINE),
            policy: PolicyConfig {
                rename: self.rename.unwrap_or_default(),
                attributes: self.attributes.unwrap_or(true),
                max_distinct_names: self.max_names.unwrap_or(MAX_DISTINCT_NAMES),
                // An empty prefix would be every key.
                denied_prefixes: denied
                    .chain(self.deny)
                    .filter(|prefix| !prefix.is_empty())
                    .collect(),
            },
        }
    }
}

impl Config {
    /// Puts together what options, variables and the file say.
    ///
    /// # Errors
    /// [`Failure::Config`] when the file cannot be used or says too little, [`Failure::Usage`] when the
    /// options contradict each other.
    pub(super) fn new(args: ServeArgs) -> Result<Self, Failure> {
        let file = match &args.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let said = args.trust();
        let (admit, who) = (args.admit.or(file.admit), args.identity.or(file.identity));
        let to = args.peers.or(file.peers);
        let bindings = bindings(args.bind, file.bindings, |own| {
            said.clone().or(&own).or(&file.trust)
        })?;
        let http = args.http.or(file.http);
        let config = Self {
            listen: either(args.listen, file.listen),
            admission: admit.admission(&who)?,
            trust: to.trust(&who, admit.insecure)?,
            bindings,
            tail: args.tail.or(file.tail),
            tail_to: args.tail_to.or(file.tail_to),
            tail_from: args.tail_from.or(file.tail_from),
            http: http.map(|address| HttpConfig {
                address,
                hosts: either(args.http_host, file.http_host),
            }),
            limits: admit.limits(RpcLimits {
                drain: args.drain.or(file.drain).unwrap_or(DRAIN),
                ..RpcLimits::default()
            }),
        };
        config.check()?;
        let bindings = config.bindings.iter().map(|bound| &bound.address);
        let peers = bindings.chain(config.tail_to.iter().map(|peer| &peer.address));
        to.check(&config.trust, &peers.collect::<Vec<_>>())?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        let lacks = |what: &str| Err(Failure::Config(what.into()));
        if self.bindings.is_empty() && self.tail_from.is_none() {
            return lacks(
                "there is no binding to pass on; write [bind.NAME] with to = \"ADDR\", or --bind NAME=ADDR",
            );
        }
        if self.listen.is_empty() && self.http.is_none() {
            return lacks(
                "there is nowhere to listen; write listen = [\"ADDR\"], or --listen ADDR",
            );
        }
        match self.tail_from.as_deref() {
            Some(name) if self.bindings.iter().any(|bound| bound.name == name) => {
                Err(Failure::Usage(format!(
                    "--tail-from and --bind both use {name:?}; give each its own name"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// The file's bindings, those that options name with their addresses, and then the others of the options.
fn bindings(
    options: Vec<Target>,
    file: Vec<Binding>,
    trust: impl Fn(Trust) -> Trust,
) -> Result<Vec<Bound>, Failure> {
    if let Some(name) = cli::twice(options.iter().map(|target| target.name.as_str())) {
        let reason = format!("--bind names the binding {name:?} twice; give each its own name");
        return Err(Failure::Usage(reason));
    }
    let mut options = options;
    let mut bound = Vec::with_capacity(file.len() + options.len());
    for binding in file {
        let own = |target: &Target| target.name == binding.target.name;
        let (target, connect_name) = match options.iter().position(own) {
            Some(i) => (options.remove(i), None),
            None => (binding.target, binding.connect_name),
        };
        bound.push(trust(binding.trust).bound(target, connect_name));
    }
    let more = options.into_iter();
    bound.extend(more.map(|target| trust(Trust::default()).bound(target, None)));
    Ok(bound)
}

fn either<T>(said: Vec<T>, file: Vec<T>) -> Vec<T> {
    if said.is_empty() { file } else { said }
}

/// Reads `ADDR` or `ADDR#REMOTE`; without a name there the binding has the same on both sides.
pub(super) fn target(name: &str, text: &str) -> Result<Target, String> {
    let (address, remote) = text.split_once('#').unwrap_or((text, name));
    if remote.is_empty() {
        return Err("behind # there is no name; write ADDR#REMOTE or ADDR".into());
    }
    let address = address.parse();
    Ok(Target {
        name: name.to_owned(),
        address: address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?,
        remote: remote.to_owned(),
    })
}

/// Reads where HTTP is taken.
pub(super) fn http(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(Address::Tls { .. }) => Err(format!(
            "{text:?}: HTTP is taken from this machine, without TLS; leave out tls:"
        )),
        Ok(address) => Ok(address),
        Err(error) => Err(js_rpc::InvalidAddress::to_string(&error)),
    }
}

/// Reads `any`, `off`, or patterns with commas between them.
pub(super) fn rename(text: &str) -> Result<Rename, String> {
    Ok(match text {
        "off" => Rename::Off,
        "any" => Rename::Any,
        patterns => {
            let patterns: Vec<String> = patterns.split(',').map(str::to_owned).collect();
            if patterns.iter().any(String::is_empty) {
                return Err(
                    "an empty pattern matches nothing; write any, off or PATTERN,...".into(),
                );
            }
            Rename::Matching(patterns)
        }
    })
}

/// Reads what goes on to whoever called.
pub(super) fn forward(text: &str) -> Result<Forward, String> {
    match text {
        "accepted" => Ok(Forward::Accepted),
        "none" => Ok(Forward::Nothing),
        _ => Err("write accepted or none".into()),
    }
}
