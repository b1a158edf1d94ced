//! Where others reach this node's HTTP.

use std::net::{IpAddr, SocketAddr};

/// The address that is announced: the one that was given; else where it is served (`None`: nowhere), or the host's
/// name where that is every address.
pub(super) fn announced(given: Option<&str>, served: Option<SocketAddr>, host: &str) -> String {
    match (given, served) {
        (_, None) => String::new(),
        (Some(given), _) => given.to_owned(),
        (None, Some(address)) if address.ip().is_unspecified() => {
            format!("http://{host}:{}", address.port())
        }
        (None, Some(address)) => {
            format!("http://{}", SocketAddr::new(address.ip(), address.port()))
        }
    }
}

/// Whether only this host reaches it: worth a word where a fleet spans several.
pub(super) fn is_this_host_alone(given: Option<&str>, served: Option<SocketAddr>) -> bool {
    given.is_none() && served.map(|address| address.ip()).is_some_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_given_or_where_it_is_served() {
        let at = |text: &str| Some(text.parse().unwrap());
        assert_eq!(announced(None, at("127.0.0.1:4711"), "h"), "http://127.0.0.1:4711");
        assert_eq!(announced(None, at("[::1]:80"), "h"), "http://[::1]:80");
        assert_eq!(announced(None, at("0.0.0.0:9810"), "db-1"), "http://db-1:9810");
        assert_eq!(announced(None, at("[::]:9810"), "db-1"), "http://db-1:9810");
        assert_eq!(announced(Some("http://x:1"), at("0.0.0.0:9810"), "h"), "http://x:1");
        assert_eq!(announced(None, None, "h"), "");
        assert!(is_this_host_alone(None, at("127.0.0.1:1")));
        assert!(!is_this_host_alone(Some("http://x:1"), at("127.0.0.1:1")));
        assert!(!is_this_host_alone(None, at("10.0.0.1:1")));
    }
}
