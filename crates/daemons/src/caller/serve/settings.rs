//! What counts of what was said: an option before its variable, both before the file, and for one binding
//! its own table before the rest of the file.

use binding_span::Rename;
use js_rpc::{Address, NetworkStats, RpcLimits};

use super::args::ServeArgs;
use super::http::HttpConfig;
use super::policy::{BindingArgs, PolicyArgs};
use super::{Bound, Config};
use crate::cli;
use crate::config::{File, Loaded, Places, Problem, Section};
use crate::door;
use crate::exit::Failure;
use crate::otel;

/// A binding and where its calls go: `NAME=ADDR#REMOTE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) remote: String,
}

impl Config {
    /// Puts together what options, variables and the file say.
    ///
    /// # Errors
    /// [`Failure::Config`] when the file cannot be used or says too little, [`Failure::Usage`] when the
    /// options contradict each other.
    pub(super) fn new(loaded: Loaded<ServeArgs>) -> Result<Self, Failure> {
        let Loaded {
            args, file, places, ..
        } = loaded;
        let (who, to, admit) = (args.identity, args.peers, args.admit);
        let admission = admit.admission(&who);
        let wrong = |failure| places.blame(&door::ADMISSION, None, failure);
        let mut admission = admission.map_err(wrong)?;
        let admin = args.admin.config(&mut admission);
        let distrusted = |failure| places.blame(&door::TRUST, None, failure);
        let config = Self {
            admin: admin.map_err(|failure| places.blame(&[], Some("admin"), failure))?,
            bindings: bindings(args.bind, &args.policy, file.as_ref())?,
            listen: args.listen,
            admission,
            to_callees: NetworkStats::default(),
            trust: to.trust(&who, admit.insecure).map_err(distrusted)?,
            log: args.log,
            live: args.tail.live(),
            tail: args.tail.to(&places)?,
            tail_to: args.tail_to,
            tail_from: args.tail_from,
            otel: otel::Plan::from_env(&args.otlp, "caller"),
            http: args.http.map(|address| HttpConfig {
                address,
                hosts: args.http_host,
            }),
            limits: admit.limits(args.limits.limits(RpcLimits {
                drain: args.drain,
                ..RpcLimits::default()
            })),
        };
        config.check(&places)?;
        let bindings = config.bindings.iter().map(|bound| &bound.address);
        let peers = bindings.chain(config.tail_to.iter().map(|peer| &peer.address));
        let trusted = to.check(&config.trust, &peers.collect::<Vec<_>>());
        let tos = config
            .bindings
            .iter()
            .map(|bound| format!("bind.{}.to", bound.name));
        let tos: Vec<String> = tos.collect();
        let names: Vec<&str> = tos.iter().map(String::as_str).collect();
        let settings = [&door::TRUST[..], &names, &["tail-to"]].concat();
        trusted.map_err(|failure| places.blame(&settings, None, failure))?;
        Ok(config)
    }

    fn check(&self, places: &Places) -> Result<(), Failure> {
        let lacks = |what: &str| Err(places.lacks(what));
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
                let text =
                    format!("--tail-from and --bind both use {name:?}; give each its own name");
                let failure = Failure::Usage(text);
                Err(places.blame(&[], Some("tail-from"), failure))
            }
            _ => Ok(()),
        }
    }
}

/// The file's bindings, those that options name with their addresses, and then the others of the options.
fn bindings(
    options: Vec<Target>,
    said: &PolicyArgs,
    file: Option<&File>,
) -> Result<Vec<Bound>, Failure> {
    if let Some(name) = cli::twice(options.iter().map(|target| target.name.as_str())) {
        let reason = format!("--bind names the binding {name:?} twice; give each its own name");
        return Err(Failure::Usage(reason));
    }
    let wrong = |text| Failure::Usage(format!("--rename: {text}"));
    said.check().map_err(wrong)?;
    let mut options = options;
    let mut bound = Vec::new();
    let mut all = PolicyArgs::default();
    if let Some(file) = file {
        all = file.part()?;
        let wrong = |text| file.failure(&file.top().wrong("rename", text));
        all.check().map_err(wrong)?;
        for (name, section) in file.tables("bind") {
            let own = |target: &Target| target.name == name;
            let said_of = options.iter().position(own).map(|i| options.remove(i));
            let binding = binding(name, section, said_of, said, &all);
            bound.push(binding.map_err(|problem| file.failure(&problem))?);
        }
    }
    let more = options.into_iter();
    bound.extend(more.map(|target| target.bound(said.clone().or(&all), None)));
    Ok(bound)
}

/// A table `[bind.NAME]`, whose calls go where an option says if one does.
fn binding(
    name: &str,
    section: &Section,
    option: Option<Target>,
    said: &PolicyArgs,
    all: &PolicyArgs,
) -> Result<Bound, Problem> {
    let own: BindingArgs = section.parse()?;
    let wrong = |text| section.wrong("rename", text);
    own.policy.check().map_err(wrong)?;
    let Some(to) = &own.to else {
        return Err(section.lacks("there is no `to`; write to = \"ADDR\" or \"ADDR#REMOTE\""));
    };
    let target = target(name, to).map_err(|text| section.wrong("to", &text))?;
    if own.connect_name.is_some() && target.remote != name {
        let text = "it names the binding there, and so does what stands behind # in `to`; leave one of \
                    them out";
        return Err(section.wrong("connect-name", text));
    }
    let policy = said.clone().or(&own.policy).or(all);
    Ok(match option {
        Some(target) => target.bound(policy, None),
        None => target.bound(policy, own.connect_name),
    })
}

/// What is wrong with a file that needs nothing opened to be seen.
pub(super) fn check_text(loaded: &Loaded<ServeArgs>) -> Result<(), Failure> {
    let Loaded { args, file, .. } = loaded;
    bindings(args.bind.clone(), &args.policy, file.as_ref()).map(drop)
}

impl Target {
    fn bound(self, policy: PolicyArgs, connect_name: Option<String>) -> Bound {
        Bound {
            name: self.name,
            address: self.address,
            remote: self.remote,
            connect_name,
            forward: policy.forward(),
            deadline: policy.deadline(),
            policy: policy.policy(),
        }
    }
}

/// Reads `ADDR` or `ADDR#REMOTE`; without a name there the binding has the same on both sides.
pub(crate) fn target(name: &str, text: &str) -> Result<Target, String> {
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
pub(crate) fn http(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(Address::Tls { .. }) => Err(format!(
            "{text:?}: HTTP is taken from this machine, without TLS; leave out tls:"
        )),
        Ok(address) => Ok(address),
        Err(error) => Err(js_rpc::InvalidAddress::to_string(&error)),
    }
}

/// Reads `any`, `off`, or a pattern.
pub(crate) fn rename(text: &str) -> Result<Rename, String> {
    match text {
        "off" => Ok(Rename::Off),
        "any" => Ok(Rename::Any),
        "" => Err("an empty pattern matches nothing; write any, off or PATTERN,...".into()),
        pattern => Ok(Rename::Matching(vec![pattern.to_owned()])),
    }
}
