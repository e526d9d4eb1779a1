//! Where a daemon listens: what the command line says, and what of it is allowed.

use std::io::Write;
use std::net::IpAddr;
use std::str::FromStr;

use js_rpc::{Address, Listener};

use crate::door::{self, Admission};
use crate::exit::Failure;

/// An address to listen on: `ADDR`, or `ADDR,binding=NAME` where every `CONNECT` means that binding.
///
/// ```
/// use daemons::listen::Endpoint;
/// let endpoint: Endpoint = "127.0.0.1:7400,binding=DB".parse().unwrap();
/// assert_eq!(endpoint.address.to_string(), "127.0.0.1:7400");
/// assert_eq!(endpoint.binding.as_deref(), Some("DB"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// The one binding that it serves to those who open with `CONNECT`.
    pub binding: Option<String>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, option) = match text.split_once(',') {
            Some((address, option)) => (address, Some(option)),
            None => (text, None),
        };
        let binding = option
            .map(|option| match option.strip_prefix("binding=") {
                Some(name) if !name.is_empty() => Ok(name.to_owned()),
                _ => Err(format!(
                    "{option:?} is not known; behind the address write ,binding=NAME or nothing"
                )),
            })
            .transpose()?;
        let address = address
            .parse()
            .map_err(|error: js_rpc::InvalidAddress| error.to_string())?;
        Ok(Self { address, binding })
    }
}

/// Binds every endpoint, or none.
///
/// # Errors
/// [`Failure::Config`] when one cannot be bound, names a binding that is not among `known`, or is open
/// to other machines although nobody said `insecure`; [`Failure::Usage`] when it is said who may connect
/// with TLS, and no address has it.
pub async fn bind(
    endpoints: &[Endpoint],
    known: &[&str],
    admission: &Admission,
) -> Result<Vec<Listener>, Failure> {
    // A literal address is refused before anything is open; a name shows its address when bound.
    check(endpoints, known, admission)?;
    let mut listeners = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let listener = Listener::bind_with(&endpoint.address, &admission.options).await?;
        let judges = admission.judges();
        refuse_exposed(listener.address(), judges, admission.insecure)?;
        if let Some(why) = exposed(listener.address(), judges) {
            let at = listener.address();
            let line = format!("INSECURE: {at} is open to other machines: {}", why.says());
            let _ = writeln!(std::io::stderr(), "{}", tail::escape(&line));
        }
        listeners.push(match &endpoint.binding {
            Some(binding) => listener.with_binding(binding),
            None => listener,
        });
    }
    Ok(listeners)
}

/// What [`bind`] would refuse without asking the system.
///
/// # Errors
/// As for [`bind`].
pub fn check(endpoints: &[Endpoint], known: &[&str], admission: &Admission) -> Result<(), Failure> {
    let judges = admission.judges();
    if judges && !endpoints.iter().any(|at| door::is_tls(&at.address)) {
        let options = "--tls-client-ca or --tls-client-pin";
        return Err(door::unused(options, "listen on"));
    }
    endpoints.iter().try_for_each(|endpoint| {
        check_binding(endpoint, known)?;
        refuse_exposed(&endpoint.address, judges, admission.insecure)
    })
}

/// Refuses an address without TLS that other machines can reach, unless somebody said `insecure`.
pub(crate) fn check_reach(address: &Address, insecure: bool) -> Result<(), Failure> {
    refuse_exposed(address, false, insecure)
}

fn refuse_exposed(address: &Address, judges: bool, insecure: bool) -> Result<(), Failure> {
    match exposed(address, judges) {
        Some(why) if !insecure => Err(refused(address, why)),
        _ => Ok(()),
    }
}

fn check_binding(endpoint: &Endpoint, known: &[&str]) -> Result<(), Failure> {
    match endpoint.binding.as_deref() {
        Some(name) if !known.contains(&name) => Err(Failure::Config(format!(
            "--listen {} names the binding {name:?}, which is not served; there is: {}",
            endpoint.address,
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Whether other machines can reach it.
fn is_public(address: &Address) -> bool {
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
pub fn describe(endpoint: &Endpoint, listener: &Listener) -> String {
    match &endpoint.binding {
        Some(binding) => format!("{} (CONNECT means {binding})", listener.address()),
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
            ("nowhere,binding=DB", "there is no port"),
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
