//! Where a daemon listens: what the command line says, and what of it is allowed.

use std::net::IpAddr;
use std::str::FromStr;

use js_rpc::{Address, Listener};

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
/// to other machines although nobody said `insecure`.
pub async fn bind(
    endpoints: &[Endpoint],
    known: &[&str],
    insecure: bool,
) -> Result<Vec<Listener>, Failure> {
    // A literal address is refused before anything is open; a name shows its address when bound.
    check(endpoints, known, insecure)?;
    let mut listeners = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let listener = Listener::bind(&endpoint.address).await?;
        check_reach(listener.address(), insecure)?;
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
pub fn check(endpoints: &[Endpoint], known: &[&str], insecure: bool) -> Result<(), Failure> {
    endpoints.iter().try_for_each(|endpoint| {
        check_binding(endpoint, known)?;
        check_reach(&endpoint.address, insecure)
    })
}

/// Refuses an address that other machines can reach, unless somebody said `insecure`.
pub(crate) fn check_reach(address: &Address, insecure: bool) -> Result<(), Failure> {
    match !insecure && is_public(address) {
        true => Err(refused(address)),
        false => Ok(()),
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

fn refused(address: &Address) -> Failure {
    Failure::Config(format!(
        "refusing to listen on {address}: other machines could reach it, and whoever reaches it can call \
         everything; listen on unix:/path or 127.0.0.1, or say --insecure where the network is trusted"
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
