//! Who is at the other end, as far as the system knows: what quotas are counted by and logs name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this user, on a unix socket.
    Uid(u32),
    /// A process at this address.
    Ip(IpAddr),
}

/// What counts as the same peer, wherever peers have shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerKey {
    /// A user of this machine, on unix sockets.
    Uid(u32),
    /// An IPv4 address; the first 64 bits of an IPv6 address. All of this machine's own are one: whoever has one
    /// of 127.0.0.0/8 has all of them.
    Ip(IpAddr),
}

impl Peer {
    /// The user; the IPv4 address; of an IPv6 address the first 64 bits, since whoever has one address
    /// commonly has all of those; of this machine's own addresses always the same.
    pub(crate) fn key(self) -> PeerKey {
        match self {
            Self::Uid(uid) => PeerKey::Uid(uid),
            Self::Ip(ip) => PeerKey::Ip(match ip.to_canonical() {
                ip if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
                ip => ip,
            }),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Ip(ip) => write!(f, "{}", ip.to_canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_and_spellings_of_one_address_are_one_peer() {
        for (a, b, same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("127.0.0.1", "127.255.0.9", true),
            ("127.0.0.1", "::1", true),
            ("127.0.0.1", "::ffff:127.0.0.2", true),
            ("127.0.0.1", "126.0.0.1", false),
            ("::1", "::2", false),
            ("2001:db8::1", "2001:db8::ffff:1:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let key = |text: &str| Peer::Ip(text.parse().unwrap()).key();
            assert_eq!(key(a) == key(b), same, "{a} {b}");
        }
    }
}
