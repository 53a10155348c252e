//! Host of a registry node: whether it is this host, and the local address towards it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::endpoint::PeerEndpoint;
use super::lan::socket::all_own_ips;

/// Longest look-up of the addresses of a registry node.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// The listed addresses that may be dialled. On another host, anybody can register an address that
/// means a program of this host or of its network: a loopback, link-local or unspecified address.
pub(super) fn reachable(listed: impl Iterator<Item = PeerEndpoint>, is_registry_here: bool) -> Vec<PeerEndpoint> {
    listed.filter(|endpoint| is_registry_here || endpoint.may_come_from_elsewhere()).collect()
}

/// Whether the registry node at `url` runs on this host: each of its addresses is a loopback
/// address or an address of this host. False if its addresses cannot be looked up.
pub(super) async fn is_on_this_host(url: &str) -> bool {
    let Ok(Ok(addrs)) = timeout(LOOK_UP_TIMEOUT, lookup_host(host_and_port(url))).await else { return false };
    let ips: Vec<IpAddr> = addrs.map(|addr| addr.ip().to_canonical()).collect();
    let own_ips = all_own_ips();
    !ips.is_empty() && ips.iter().all(|ip| ip.is_loopback() || own_ips.contains(ip))
}

/// Host and port of a base URL.
fn host_and_port(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let default_port = if scheme == "https" { 443 } else { 80 };
    let host = rest.split('/').next().unwrap_or(rest);
    if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:{default_port}")
    }
}

/// Local IP address from which this machine reaches the host of `url`; the loopback address if
/// there is no route. Sends nothing: `connect` of a UDP socket only looks up the route.
pub(super) fn local_ip_towards(url: &str) -> IpAddr {
    let target = host_and_port(url);
    let look_up = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        socket.local_addr()
    };
    look_up().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |addr: SocketAddr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_depends_on_the_scheme() {
        for (url, expected) in [
            ("http://a", "a:80"),
            ("https://a/base", "a:443"),
            ("https://a:3000", "a:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert_eq!(host_and_port(url), expected);
        }
    }

    #[tokio::test]
    async fn addresses_of_the_own_host_are_dialled_only_if_the_registry_is_on_it() {
        let listed = ["127.0.0.1:22", "169.254.169.254:80", "[::1]:9", "[fe80::1]:9", "10.0.0.2:9000"];
        let listed = || listed.iter().map(|text| PeerEndpoint::parse(text).unwrap());
        assert_eq!(reachable(listed(), true).len(), 5);
        assert_eq!(reachable(listed(), false), [PeerEndpoint::parse("10.0.0.2:9000").unwrap()]);
        for (url, is_here) in [
            ("http://127.0.0.1:3000", true),
            ("http://127.0.0.9:3000/base", true),
            ("http://localhost:3000", true),
            ("https://[::1]:3000", true),
            ("http://192.0.2.7:3000", false),
            ("http://8.8.8.8", false),
            ("http://no-such-host.invalid:3000", false),
        ] {
            assert_eq!(is_on_this_host(url).await, is_here, "{url}");
        }
    }
}
