//! Where programs that speak plain HTTP reach a binding, as far as the listeners show it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use js_rpc::{Address, Listener};

/// The URL of each listener that speaks plain HTTP on TCP, and the one binding that it serves, if that is fixed.
pub(super) struct PlainUrls(Vec<(String, Option<String>)>);

impl PlainUrls {
    pub(super) fn of_listeners(listeners: &[Listener]) -> Self {
        let each = listeners.iter().filter_map(|listener| {
            let only = listener.binding().map(str::to_owned);
            Some((url(listener.address())?, only))
        });
        Self(each.collect())
    }

    /// Where a client reaches a binding without naming it: the first listener that serves no other. `is_sole`: no other
    /// binding is served.
    pub(super) fn of(&self, binding: &str, is_sole: bool) -> Option<&str> {
        let serves = |only: Option<&str>| only.map_or(is_sole, |only| only == binding);
        let mut urls = self.0.iter();
        let (url, _) = urls.find(|(_, only)| serves(only.as_deref()))?;
        Some(url)
    }
}

/// The URL of a bound address. Whoever listens on all addresses is reached on this machine by its loopback address.
fn url(address: &Address) -> Option<String> {
    let Address::Tcp { host, port } = address else {
        return None;
    };
    let ip = match host.parse().ok()? {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(format!("http://{}", SocketAddr::new(ip, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback_and_others_as_they_are() {
        for (address, expected) in [
            ("127.0.0.1:7400", Some("http://127.0.0.1:7400")),
            ("192.168.1.2:80", Some("http://192.168.1.2:80")),
            ("*:7400", Some("http://127.0.0.1:7400")),
            ("[::]:7400", Some("http://[::1]:7400")),
            ("[fe80::1]:7400", Some("http://[fe80::1]:7400")),
            ("tls:127.0.0.1:7400", None),
            ("unix:/run/callee.sock", None),
        ] {
            let url = url(&address.parse().unwrap());
            assert_eq!(url.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn the_first_listener_counts_that_needs_no_name_of_a_binding() {
        let urls = PlainUrls(vec![
            ("http://127.0.0.1:1".into(), Some("DB".into())),
            ("http://127.0.0.1:2".into(), None),
            ("http://127.0.0.1:3".into(), Some("WEB".into())),
        ]);
        assert_eq!(urls.of("WEB", true), Some("http://127.0.0.1:2"));
        assert_eq!(urls.of("WEB", false), Some("http://127.0.0.1:3"));
        assert_eq!(urls.of("OTHER", false), None);
    }
}
