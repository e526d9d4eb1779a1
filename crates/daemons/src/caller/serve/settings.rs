//! What counts of what was said: an option before its variable, both before the file, and for one binding
//! its own table before the rest of the file.

use std::collections::HashSet;

use binding_span::Rename;
use js_rpc::{Address, NetworkStats, RpcLimits};

use super::args::ServeArgs;
use super::http::HttpConfig;
use super::policy::{BindingArgs, PolicyArgs};
use super::{Bound, Config};
use crate::cli;
use crate::config::{File, Loaded, Places, Problem, Section};
use crate::door::{self, TrustArgs};
use crate::exit::{Failure, Findings};
use crate::{listen, otel};

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
            args,
            file,
            places,
            mut found,
            ..
        } = loaded;
        // Each is looked at, so that one does not hide the others.
        let (who, to, admit) = (args.identity, args.peers, args.admit);
        let wrong = |failure| places.blame(&door::ADMISSION, None, failure);
        let mut admission = found.take(admit.admission(&who).map_err(wrong));
        let admin = admission.as_mut().map(|admission| {
            let admin = args.admin.config(admission);
            admin.map_err(|failure| places.blame(&[], Some("admin"), failure))
        });
        let admin = admin.and_then(|admin| found.take(admin));
        let options: HashSet<String> = args.bind.iter().map(|to| to.name.clone()).collect();
        let bindings = found.take(bindings(args.bind, &args.policy, file.as_ref()));
        let distrusted = |failure| places.blame(&door::TRUST, None, failure);
        let trust = to.trust(&who, admit.insecure).map_err(distrusted);
        let trust = found.take(trust);
        found.take(args.log.check_at(&places));
        let tail = found.take(args.tail.clone().to(&places));
        if let Some(address) = &args.http {
            let reach = listen::check_reach(address, admit.insecure);
            found.take(reach.map_err(|failure| places.blame(&[], Some("http"), failure)));
        }
        let parts = (admission, admin, bindings, trust, tail);
        let (Some(admission), Some(admin), Some(bindings), Some(trust), Some(tail)) = parts else {
            return Err(found.failure());
        };
        let served: Vec<&str> = bindings.iter().map(|bound| bound.name.as_str()).collect();
        let dev = found.take(args.dev.plan(&served, &places)).flatten();
        let config = Self {
            admin,
            dev,
            bindings,
            listen: args.listen,
            admission,
            to_callees: NetworkStats::default(),
            trust,
            log: args.log,
            live: args.tail.live(),
            rename: args.tail.rename(),
            tail,
            tail_to: args.tail_to,
            tail_from: args.tail_from,
            tail_from_headers: args.tail_from_headers.headers(),
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
        config.check(&places, &mut found);
        config.check_trust(&to, &options, &places, &mut found);
        let served = config.served();
        let listening = listen::check_at(&places, &config.listen, &served, &config.admission);
        found.take(listening);
        found.take(config.check_circle(&places));
        found.end()?;
        Ok(config)
    }

    fn check(&self, places: &Places, found: &mut Findings) {
        // What was found may be why there is none.
        if self.bindings.is_empty() && self.tail_from.is_none() && found.is_empty() {
            found.add(places.lacks(
                "there is no binding to pass on; write [bind.NAME] with to = \"ADDR\", or --bind NAME=ADDR",
            ));
        }
        if self.listen.is_empty() && self.http.is_none() && self.dev.is_none() && found.is_empty() {
            found.add(
                places.lacks(
                    "there is nowhere to listen; write listen = [\"ADDR\"], or --listen ADDR",
                ),
            );
        }
        if let Some(name) = self.tail_from.as_deref()
            && self.bindings.iter().any(|bound| bound.name == name)
        {
            let text = format!("--tail-from and --bind both use {name:?}; give each its own name");
            let failure = Failure::Usage(text);
            found.add(places.blame(&[], Some("tail-from"), failure));
        }
    }

    /// Checks that it is known whom to trust at each address that is connected to; those of bindings in `options`
    /// are not as the file says.
    fn check_trust(
        &self,
        to: &TrustArgs,
        options: &HashSet<String>,
        places: &Places,
        found: &mut Findings,
    ) {
        let peer = self.tail_to.iter().map(|peer| &peer.address);
        let all = self.bindings.iter().map(|bound| &bound.address);
        let all: Vec<&Address> = all.chain(peer.clone()).collect();
        if !all.iter().any(|address| door::is_tls(address)) {
            let used = to.check(&self.trust, &[]);
            found.take(used.map_err(|failure| places.blame(&door::TRUST, None, failure)));
        }
        for bound in &self.bindings {
            let checked = door::check_trust(&self.trust, &bound.address);
            found.take(
                checked.map_err(|failure| match options.contains(&bound.name) {
                    true => failure,
                    false => {
                        let setting = format!("bind.{}.to", bound.name);
                        places.blame(&[], None, failure.of(setting, 0))
                    }
                }),
            );
        }
        for address in peer {
            let checked = door::check_trust(&self.trust, address);
            found.take(checked.map_err(|failure| places.blame(&[], Some("tail-to"), failure)));
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
        let reason = format!(
            "--bind names the binding {name:?} twice, and a binding has one address; give each its own name, \
             or bind the address of a load balancer for TCP in front of several callees"
        );
        return Err(Failure::Usage(reason));
    }
    let wrong = |text| Failure::Usage(format!("--rename: {text}"));
    said.check().map_err(wrong)?;
    let mut options = options;
    let mut found = Findings::default();
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
            let binding = binding.map_err(|problem| file.failure(&problem));
            bound.extend(found.take(binding));
        }
    }
    let more = options.into_iter();
    bound.extend(more.map(|target| target.bound(said.clone().or(&all), None)));
    found.end()?;
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
