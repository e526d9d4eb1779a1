//! Addresses: where to listen and where to connect.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a peer is: `unix:/path`, `host:port`, `tcp:host:port`, `tls:host:port`, or, to listen on,
/// `*:port`.
///
/// ```
/// use js_rpc::Address;
/// let address: Address = "unix:/run/callee.sock".parse().unwrap();
/// assert_eq!(address, Address::Unix("/run/callee.sock".into()));
/// assert_eq!("*:7400".parse::<Address>().unwrap().to_string(), "0.0.0.0:7400");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP endpoint: a host name or an address, and a port.
    Tcp {
        /// The name, or the address without brackets.
        host: String,
        /// The port; 0 lets the system choose one to listen on.
        port: u16,
    },
    /// The same, under TLS. Over TCP without TLS it can never be reached by mistake.
    Tls {
        /// The name, or the address without brackets; the peer's certificate must be for it.
        host: String,
        /// The port; 0 lets the system choose one to listen on.
        port: u16,
    },
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an address: {reason}; write unix:/path, host:port, tls:host:port or *:port"
)]
pub struct InvalidAddress {
    text: String,
    reason: &'static str,
}

/// Bytes of a unix socket's path that the system takes, without the final NUL.
const UNIX_PATH_BYTES: usize = 107;

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress {
            text: text.to_owned(),
            reason,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(invalid("there is no path behind unix:"));
            }
            if path.len() > UNIX_PATH_BYTES {
                return Err(invalid(
                    "the path is longer than the 107 bytes that a unix socket may have",
                ));
            }
            if path.contains('\0') {
                return Err(invalid("the path contains a NUL byte"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let (rest, tls) = match text.strip_prefix("tls:") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("tcp:").unwrap_or(text), false),
        };
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| invalid("there is no port"))?;
        let port = port
            .parse()
            .map_err(|_| invalid("the port is not a number from 0 to 65535"))?;
        let host = match host {
            "*" => "0.0.0.0",
            "" => return Err(invalid("there is no host")),
            // Brackets are for addresses that have colons.
            bracketed => bracketed
                .strip_prefix('[')
                .and_then(|inner| inner.strip_suffix(']'))
                .filter(|inner| inner.contains(':'))
                .unwrap_or(bracketed),
        };
        if host.contains(['/', '[', ']']) || (host.contains(':') && !rest.starts_with('[')) {
            return Err(invalid("the host is neither a name nor an address"));
        }
        let host = host.to_owned();
        Ok(match tls {
            true => Self::Tls { host, port },
            false => Self::Tcp { host, port },
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } => {
                // Hosts that would be read as a scheme.
                if ["unix", "tls", "tcp"].contains(&host.as_str()) {
                    f.write_str("tcp:")?;
                }
                endpoint(f, host, *port)
            }
            Self::Tls { host, port } => {
                f.write_str("tls:")?;
                endpoint(f, host, *port)
            }
        }
    }
}

fn endpoint(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        let cases = [
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:a.sock", "unix:a.sock"),
            ("localhost:7400", "localhost:7400"),
            ("tcp:127.0.0.1:0", "127.0.0.1:0"),
            ("*:7400", "0.0.0.0:7400"),
            ("[::1]:7400", "[::1]:7400"),
            ("tls:db.example:7400", "tls:db.example:7400"),
            ("tls:*:7400", "tls:0.0.0.0:7400"),
            ("tls:[::1]:7400", "tls:[::1]:7400"),
            ("tcp:unix:7400", "tcp:unix:7400"),
            ("tls:tls:7400", "tls:tls:7400"),
        ];
        for (text, printed) in cases {
            let address: Address = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn a_bad_address_says_what_is_wrong_with_it() {
        let long = format!("unix:/{}", "x".repeat(107));
        let cases = [
            ("", "no port"),
            ("localhost", "no port"),
            (":7400", "no host"),
            ("localhost:", "not a number"),
            ("localhost:70000", "not a number"),
            ("unix:", "no path"),
            ("tls:", "no port"),
            ("tls::7400", "no host"),
            ("::1:7400", "neither a name nor an address"),
            ("[]:7400", "neither a name nor an address"),
            ("[*]:7400", "neither a name nor an address"),
            (long.as_str(), "107 bytes"),
        ];
        for (text, says) in cases {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
