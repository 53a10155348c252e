//! JSON body of `/healthz`. Pure.

use serde::Serialize;

use super::stats::PeerStats;
use crate::registry_task::{RegistryState, RegistryStatus};
use rollcall_core::BootMs;

/// Identity and uptime of the peer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PeerIdentity {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: u64,
}

/// Error: the driver returned no snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StatsUnavailable {
    /// The peer is shutting down.
    Stopping,
    /// The driver did not answer in time: it is overloaded or blocked.
    Busy,
}

impl StatsUnavailable {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Busy => "busy",
        }
    }
}

#[derive(Serialize)]
struct PeerHealth {
    status: &'static str,
    #[serde(flatten)]
    identity: PeerIdentity,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    links: Option<LinkHealth>,
    registry: &'static str,
    /// Age of the latest answer of the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_answered_seconds_ago: Option<u64>,
}

#[derive(Serialize)]
struct LinkHealth {
    connections: usize,
    lan: Option<LanHealth>,
}

#[derive(Serialize)]
struct LanHealth {
    port: u16,
    peers: usize,
}

/// Builds the JSON body. An unreachable registry does not make the peer unhealthy, because the chat
/// works without it.
pub(super) fn health(
    identity: PeerIdentity,
    stats: &Result<PeerStats, StatsUnavailable>,
    lan_port: Option<u16>,
    registry_status: Option<RegistryStatus>,
    now: BootMs,
) -> String {
    let links = stats.as_ref().ok().map(|stats| LinkHealth {
        connections: stats.links,
        lan: lan_port.map(|port| LanHealth { port, peers: stats.lan_peers.unwrap_or(0) }),
    });
    let registry = match registry_status.map(|registry_status| registry_status.state) {
        None => "none",
        Some(RegistryState::NotAsked) => "unasked",
        Some(RegistryState::Answered) => "answers",
        Some(RegistryState::NameRefused) => "refuses",
        Some(RegistryState::Unreachable) => "away",
    };
    let last_answer_at = registry_status.and_then(|registry_status| registry_status.last_answer_at);
    let registry_answered_seconds_ago = last_answer_at.map(|last_answer_at| now.since(last_answer_at) / 1000);
    let health = PeerHealth {
        status: stats.as_ref().err().map_or("ok", |unavailable| unavailable.name()),
        identity,
        links,
        registry,
        registry_answered_seconds_ago,
    };
    serde_json::to_string(&health).expect("the body has only text keys") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UNREACHABLE: RegistryStatus = RegistryStatus { state: RegistryState::Unreachable, last_answer_at: None };

    fn read(
        stats: &Result<PeerStats, StatsUnavailable>,
        lan_port: Option<u16>,
        registry_status: Option<RegistryStatus>,
    ) -> Value {
        let identity = PeerIdentity { id: "00ff".into(), name: "a\"b".into(), version: "1", uptime_seconds: 9 };
        serde_json::from_str(&health(identity, stats, lan_port, registry_status, BootMs(70_999))).unwrap()
    }

    #[test]
    fn a_healthy_peer_reports_its_connections() {
        let stats = PeerStats { links: 3, lan_peers: Some(2), ..PeerStats::default() };
        assert_eq!(
            read(&Ok(stats), Some(8123), Some(UNREACHABLE)),
            json!({
                "status": "ok", "id": "00ff", "name": "a\"b", "version": "1", "uptime_seconds": 9,
                "connections": 3, "lan": {"port": 8123, "peers": 2}, "registry": "away",
            })
        );
        let alone = read(&Ok(PeerStats::default()), None, None);
        assert_eq!((&alone["lan"], &alone["registry"]), (&Value::Null, &json!("none")));
    }

    #[test]
    fn the_age_of_the_latest_registry_answer_is_reported_in_every_state() {
        for (state, word) in [
            (RegistryState::Answered, "answers"),
            (RegistryState::NameRefused, "refuses"),
            (RegistryState::Unreachable, "away"),
        ] {
            let registry_status = RegistryStatus { state, last_answer_at: Some(BootMs(60_000)) };
            let health = read(&Ok(PeerStats::default()), None, Some(registry_status));
            assert_eq!((&health["registry"], &health["registry_answered_seconds_ago"]), (&json!(word), &json!(10)));
        }
        assert_eq!(read(&Ok(PeerStats::default()), None, Some(UNREACHABLE)).get("registry_answered_seconds_ago"), None);
    }

    #[test]
    fn a_stopping_or_blocked_peer_reports_its_status_without_numbers() {
        for (unavailable, status) in [(StatsUnavailable::Stopping, "stopping"), (StatsUnavailable::Busy, "busy")] {
            let health = read(&Err(unavailable), Some(1), Some(UNREACHABLE));
            assert_eq!((&health["status"], health.get("connections")), (&json!(status), None));
        }
    }
}
