//! The answer to "how are you?". Pure.

use serde::Serialize;

use super::measures::Measures;
use crate::registry::{Latest, Standing};
use rollcall_core::BootMs;

/// What is known of a peer, whatever it is doing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: u64,
}

/// Why a peer cannot be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unwell {
    /// It ends.
    Stopping,
    /// Its driver has more to do than it can, or hangs.
    Busy,
}

impl Unwell {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Busy => "busy",
        }
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
    registry: &'static str,
    /// It is asked now and then: how old the word before this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_answered_seconds_ago: Option<u64>,
}

#[derive(Serialize)]
struct Links {
    connections: usize,
    lan: Option<Lan>,
}

#[derive(Serialize)]
struct Lan {
    port: u16,
    peers: usize,
}

/// The body of the answer. That the registry is away is no illness: the chat goes on without it.
pub(super) fn health(
    identity: Identity,
    measures: &Result<Measures, Unwell>,
    lan_port: Option<u16>,
    standing: Option<Standing>,
    now: BootMs,
) -> String {
    let links = measures.as_ref().ok().map(|measures| Links {
        connections: measures.links,
        lan: lan_port.map(|port| Lan { port, peers: measures.lan_peers.unwrap_or(0) }),
    });
    let registry = match standing.map(|standing| standing.latest) {
        None => "none",
        Some(Latest::Unasked) => "unasked",
        Some(Latest::Answered) => "answers",
        Some(Latest::Refused) => "refuses",
        Some(Latest::Away) => "away",
    };
    let answered_at = standing.and_then(|standing| standing.answered_at);
    let registry_answered_seconds_ago = answered_at.map(|answered_at| now.since(answered_at) / 1000);
    let status = measures.as_ref().err().map_or("ok", |unwell| unwell.name());
    let health = Health { status, identity, links, registry, registry_answered_seconds_ago };
    serde_json::to_string(&health).expect("plain data") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AWAY: Standing = Standing { latest: Latest::Away, answered_at: None };

    fn read(measures: &Result<Measures, Unwell>, lan_port: Option<u16>, standing: Option<Standing>) -> Value {
        let identity = Identity { id: "00ff".into(), name: "a\"b".into(), version: "1", uptime_seconds: 9 };
        serde_json::from_str(&health(identity, measures, lan_port, standing, BootMs(70_999))).unwrap()
    }

    #[test]
    fn a_peer_that_is_well_says_whom_it_has() {
        let measures = Measures { links: 3, lan_peers: Some(2), ..Measures::default() };
        assert_eq!(
            read(&Ok(measures), Some(8123), Some(AWAY)),
            json!({
                "status": "ok", "id": "00ff", "name": "a\"b", "version": "1", "uptime_seconds": 9,
                "connections": 3, "lan": {"port": 8123, "peers": 2}, "registry": "away",
            })
        );
        let alone = read(&Ok(Measures::default()), None, None);
        assert_eq!((&alone["lan"], &alone["registry"]), (&Value::Null, &json!("none")));
    }

    #[test]
    fn how_long_ago_the_registry_answered_is_told_whatever_became_of_it_since() {
        for (latest, word) in [(Latest::Answered, "answers"), (Latest::Refused, "refuses"), (Latest::Away, "away")] {
            let standing = Standing { latest, answered_at: Some(BootMs(60_000)) };
            let health = read(&Ok(Measures::default()), None, Some(standing));
            assert_eq!((&health["registry"], &health["registry_answered_seconds_ago"]), (&json!(word), &json!(10)));
        }
        assert_eq!(read(&Ok(Measures::default()), None, Some(AWAY)).get("registry_answered_seconds_ago"), None);
    }

    #[test]
    fn a_peer_that_ends_or_hangs_says_so_and_no_numbers_that_may_be_old() {
        for (unwell, status) in [(Unwell::Stopping, "stopping"), (Unwell::Busy, "busy")] {
            let health = read(&Err(unwell), Some(1), Some(AWAY));
            assert_eq!((&health["status"], health.get("connections")), (&json!(status), None));
        }
    }
}
