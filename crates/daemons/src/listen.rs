//! Where a daemon listens: what the command line says, and what of it is allowed.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use js_rpc::{Address, InheritError, Listener};

use crate::config::Places;
use crate::door::{self, Admission};
use crate::exit::{Failure, Findings};
use crate::log;
use crate::systemd::sockets::Sockets;

/// Where to listen: `ADDR`, or `ADDR,binding=NAME` where nothing but that binding can be reached.
///
/// ```
/// use daemons::listen::{Endpoint, Place};
/// let endpoint: Endpoint = "127.0.0.1:7400,binding=DB".parse().unwrap();
/// assert_eq!(endpoint.place, Place::Address("127.0.0.1:7400".parse().unwrap()));
/// assert_eq!(endpoint.binding.as_deref(), Some("DB"));
/// let endpoint: Endpoint = "systemd:rpc,tls".parse().unwrap();
/// assert_eq!(endpoint.place, Place::Systemd { name: Some("rpc".into()), tls: true });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub place: Place,
    /// The one binding that it serves, however a connection opens.
    pub binding: Option<String>,
}

/// A place to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address that we bind.
    Address(Address),
    /// Sockets that the service manager opened.
    Systemd {
        /// What they are called there (`FileDescriptorName=`); without, it is all that are left.
        name: Option<String>,
        /// Whether TLS is spoken on them.
        tls: bool,
    },
}

impl Place {
    fn is_tls(&self) -> bool {
        match self {
            Self::Address(address) => door::is_tls(address),
            Self::Systemd { tls, .. } => *tls,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Systemd { name: None, .. } => f.write_str("systemd"),
            Self::Systemd {
                name: Some(name), ..
            } => write!(f, "systemd:{name}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mut place = place(parts.next().unwrap_or_default())?;
        let mut binding = None;
        for option in parts {
            match (option.strip_prefix("binding="), &mut place) {
                (Some(name), _) if !name.is_empty() && binding.is_none() => {
                    binding = Some(name.to_owned());
                }
                (None, Place::Systemd { tls, .. }) if option == "tls" => *tls = true,
                _ => {
                    return Err(format!(
                        "{option:?} is not known; behind the address write ,binding=NAME or nothing, and \
                         behind systemd or systemd:NAME also ,tls"
                    ));
                }
            }
        }
        Ok(Self { place, binding })
    }
}

/// A host that is called `systemd` can be written as `tcp:systemd:port`.
fn place(text: &str) -> Result<Place, String> {
    let systemd = text.strip_prefix("systemd");
    let name = match systemd.map(|rest| rest.strip_prefix(':').ok_or(rest)) {
        Some(Err("")) => None,
        Some(Ok("")) => return Err("behind systemd: there is no name".into()),
        Some(Ok(name)) => Some(name.to_owned()),
        _ => {
            let address = text.parse();
            let address = address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?;
            return Ok(Place::Address(address));
        }
    };
    Ok(Place::Systemd { name, tls: false })
}

/// Binds every endpoint, or none; takes what the service manager opened from `sockets`.
///
/// # Errors
/// [`Failure::Config`] when one cannot be bound or was not handed over, names a binding that is not among
/// `known`, or is open to other machines although nobody said `insecure`; [`Failure::Usage`] when it is
/// said who may connect with TLS, and no address has it.
pub async fn bind(
    endpoints: &[Endpoint],
    known: &[&str],
    admission: &Admission,
    sockets: &mut Sockets,
) -> Result<Vec<Listener>, Failure> {
    // A literal address is refused before anything is open; a name shows its address when bound.
    check(endpoints, known, admission)?;
    let mut listeners = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let bound = match &endpoint.place {
            Place::Address(address) => {
                vec![Listener::bind_with(address, &admission.options).await?]
            }
            Place::Systemd { name, tls } => {
                let sockets = handed_over(sockets, name.as_deref())?;
                let inherit = |socket| Listener::inherited(socket, *tls, &admission.options);
                let listeners: Result<_, InheritError> = sockets.into_iter().map(inherit).collect();
                let at = |error| Failure::Config(format!("--listen {}: {error}", endpoint.place));
                listeners.map_err(at)?
            }
        };
        for listener in bound {
            allow(&listener, admission)?;
            listeners.push(match &endpoint.binding {
                Some(binding) => listener.with_binding(binding),
                None => listener,
            });
        }
    }
    if !sockets.left().is_empty() {
        tracing::warn!(
            "sockets were handed over that no --listen takes: {}; add --listen systemd",
            sockets.left().join(", ")
        );
    }
    Ok(listeners)
}

fn handed_over(sockets: &mut Sockets, name: Option<&str>) -> Result<Vec<OwnedFd>, Failure> {
    let taken = sockets.take(name);
    if !taken.is_empty() {
        return Ok(taken);
    }
    Err(Failure::Config(match (name, sockets.left().join(", ")) {
        (Some(name), left) if !left.is_empty() => format!(
            "--listen systemd:{name}: no socket of that name was handed over; there is: {left}; see \
             FileDescriptorName= in the .socket unit"
        ),
        _ => "--listen systemd: no socket was handed over (LISTEN_FDS); start it by its .socket unit, \
              or listen on an address"
            .into(),
    }))
}

/// Refuses a bound listener that other machines can reach, or says loudly that they may.
pub(crate) fn allow(listener: &Listener, admission: &Admission) -> Result<(), Failure> {
    let (at, judges) = (listener.address(), admission.judges());
    refuse_exposed(at, judges, admission.insecure)?;
    if let Some(why) = exposed(at, judges) {
        let line = format!("{at} is open to other machines: {}", why.says());
        log::say("INSECURE", tracing::Level::WARN, &line);
    }
    Ok(())
}

/// What [`bind`] would refuse without asking the system.
///
/// # Errors
/// As for [`bind`].
pub fn check(endpoints: &[Endpoint], known: &[&str], admission: &Admission) -> Result<(), Failure> {
    let judges = admission.judges();
    if judges && !admission.tls_elsewhere && !endpoints.iter().any(|at| at.place.is_tls()) {
        let options = "--tls-client-ca or --tls-client-pin";
        return Err(door::unused(options, "listen on"));
    }
    let mut found = Findings::default();
    for (nth, endpoint) in endpoints.iter().enumerate() {
        let of = |failure: Failure| failure.of("listen", nth);
        found.take(check_binding(endpoint, known).map_err(of));
        // Where those of the service manager are shows when they are there.
        if let Place::Address(address) = &endpoint.place {
            found.take(refuse_exposed(address, judges, admission.insecure).map_err(of));
        }
    }
    found.end()
}

/// [`check`], for settings of which some are as a file says.
///
/// # Errors
/// As for [`check`], with the place in the file.
pub(crate) fn check_at(
    places: &Places,
    endpoints: &[Endpoint],
    known: &[&str],
    admission: &Admission,
) -> Result<(), Failure> {
    let settings = ["listen", "tls-client-ca", "tls-client-pin"];
    let checked = check(endpoints, known, admission);
    checked.map_err(|failure| places.blame(&settings, Some("listen"), failure))
}

/// Refuses an address without TLS that other machines can reach, unless somebody said `insecure`.
pub(crate) fn check_reach(address: &Address, insecure: bool) -> Result<(), Failure> {
    refuse_exposed(address, false, insecure)
}

pub(crate) fn refuse_exposed(
    address: &Address,
    judges: bool,
    insecure: bool,
) -> Result<(), Failure> {
    match exposed(address, judges) {
        Some(why) if !insecure => Err(refused(address, why)),
        _ => Ok(()),
    }
}

fn check_binding(endpoint: &Endpoint, known: &[&str]) -> Result<(), Failure> {
    match endpoint.binding.as_deref() {
        Some(name) if !known.contains(&name) => Err(Failure::Config(format!(
            "--listen {} names the binding {name:?}, which is not served; there is: {}",
            endpoint.place,
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Whether who connects to `to` reaches who listens on `on`, as far as the two addresses show it: not where names
/// have to be looked up, nor where the system chooses the port.
pub(crate) fn reaches(to: &Address, on: &Address) -> bool {
    match (to, on) {
        (Address::Unix(to), Address::Unix(on)) => real(to) == real(on),
        (
            Address::Tcp { host, port } | Address::Tls { host, port },
            Address::Tcp { host: on, port: at } | Address::Tls { host: on, port: at },
        ) => port == at && *port != 0 && (host == on || (is_local(host) && is_local(on))),
        _ => false,
    }
}

/// A path without links, of a socket that need not be there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Whether a host means this machine, or every address of it.
fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback() || ip.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether other machines can reach an address.
pub(crate) fn is_public(address: &Address) -> bool {
    match address {
        Address::Unix(_) => false,
        Address::Tcp { host, .. } | Address::Tls { host, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => !ip.to_canonical().is_loopback(),
            Err(_) => false,
        },
    }
}

/// Why an address that other machines can reach is not safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exposed {
    /// Nothing is encrypted.
    Plain,
    /// It is not asked who connects.
    Anybody,
}

impl Exposed {
    const fn says(self) -> &'static str {
        match self {
            Self::Plain => "nothing is encrypted, and whoever reaches it can call everything",
            Self::Anybody => "whoever reaches it can call everything",
        }
    }
}

/// Why it should not be listened on, unless somebody says that it may.
fn exposed(address: &Address, judges: bool) -> Option<Exposed> {
    match (is_public(address), door::is_tls(address)) {
        (true, false) => Some(Exposed::Plain),
        (true, true) if !judges => Some(Exposed::Anybody),
        _ => None,
    }
}

fn refused(address: &Address, why: Exposed) -> Failure {
    let instead = match why {
        Exposed::Plain => "listen on unix:/path, 127.0.0.1 or tls:host:port",
        Exposed::Anybody => "say who may connect with --tls-client-ca or --tls-client-pin",
    };
    Failure::Config(format!(
        "refusing to listen on {address}: other machines could reach it; {}; {instead}, or say \
         --insecure where the network is trusted",
        why.says()
    ))
}

/// What a ready daemon says of a listener.
pub fn describe(listener: &Listener) -> String {
    match listener.binding() {
        Some(binding) => format!("{} (only {binding})", listener.address()),
        None => listener.address().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_comma_is_checked() {
        for (text, says) in [
            ("unix:/a,bind=DB", "write ,binding=NAME"),
            ("unix:/a,binding=", "write ,binding=NAME"),
            ("unix:/a,binding=A,binding=B", "write ,binding=NAME"),
            ("nowhere,binding=DB", "there is no port"),
            ("unix:/a,tls", "is not known"),
            ("systemd:", "no name"),
            ("systemd:rpc,ssl", "also ,tls"),
            ("systemdrpc", "there is no port"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn loopback_in_every_spelling_is_private_and_the_rest_is_not() {
        for (address, public) in [
            ("unix:/run/a.sock", false),
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("*:1", true),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.168.1.2:1", true),
        ] {
            assert_eq!(is_public(&address.parse().unwrap()), public, "{address}");
        }
    }
}
