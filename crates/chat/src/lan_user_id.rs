//! Identifier of a LAN peer.

use std::net::{IpAddr, SocketAddr};

use compact_str::{CompactString, format_compact};
use serde::Serialize;

use super::nickname::Nickname;
use super::text;

/// User id of a LAN peer: `name@ip`, as the peer claims it. Not authenticated.
///
/// Invariant: no white space and no invisible characters. A received id has 1 to 128 bytes. The id
/// of this peer can be longer, because a name of 32 characters can have 128 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct LanUserId(CompactString);

/// Longest received user id, in bytes.
const MAX_USER_ID_BYTES: usize = 128;

impl LanUserId {
    /// Creates the id of a peer from its name and address.
    #[must_use]
    pub fn new(name: &Nickname, ip: IpAddr) -> Self {
        Self(format_compact!("{name}@{ip}"))
    }

    /// Parses a received id; `None` if it is empty, too long, or contains white space or an
    /// invisible character.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |c: char| !c.is_whitespace() && !text::is_hidden(c);
        ((1..=MAX_USER_ID_BYTES).contains(&text.len()) && text.chars().all(is_plain)).then(|| Self(text.into()))
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`; the whole text if there is no `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('@').map_or(&*self.0, |(name, _)| name)
    }

    /// The claimed address: the part after the last `@`; `None` if that is not an IP address. An
    /// IPv4 address in IPv6 form is the IPv4 address.
    #[must_use]
    pub fn claimed_ip(&self) -> Option<IpAddr> {
        let (_, ip) = self.0.rsplit_once('@')?;
        ip.parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }

    /// The source of a datagram of this user; `None` if it is not known.
    ///
    /// If the route for broadcasts has no source address, the system sends from 0.0.0.0. Such a
    /// datagram counts as sent from the claimed address.
    #[must_use]
    pub fn source(&self, received_from: SocketAddr) -> Option<SocketAddr> {
        if !received_from.ip().is_unspecified() {
            return Some(received_from);
        }
        let claimed = self.claimed_ip().filter(|ip| !ip.is_unspecified())?;
        Some(SocketAddr::new(claimed, received_from.port()))
    }
}

impl std::fmt::Display for LanUserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_a_name_and_claims_an_address() {
        let id = LanUserId::parse("al@ice@10.0.0.7").unwrap();
        assert_eq!((id.name(), id.claimed_ip()), ("al@ice", Some("10.0.0.7".parse().unwrap())));
        assert_eq!(LanUserId::parse("a@::ffff:10.0.0.7").unwrap().claimed_ip(), id.claimed_ip());
        let without_ip = LanUserId::parse("alice").unwrap();
        assert_eq!((without_ip.name(), without_ip.claimed_ip()), ("alice", None));
        let source = |id: &str, from: &str| LanUserId::parse(id).unwrap().source(from.parse().unwrap());
        assert_eq!(source("a@10.0.0.7", "10.0.0.8:9"), Some("10.0.0.8:9".parse().unwrap()));
        assert_eq!(source("a@10.0.0.7", "0.0.0.0:9"), Some("10.0.0.7:9".parse().unwrap()));
        assert_eq!((source("a", "0.0.0.0:9"), source("a@0.0.0.0", "0.0.0.0:9")), (None, None));
        for bad in ["", "a b@1.2.3.4", "a\u{1b}@1.2.3.4", &"x".repeat(129)] {
            assert_eq!(LanUserId::parse(bad), None, "{bad:?}");
        }
    }
}
