//! Times of the election in a node's configuration.

use rollcall_core::Timings;

use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;

/// Longest time of a setting, in milliseconds. One day: a longer time is probably a typing error,
/// and could make a sum of times overflow.
pub(super) const MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads the times of the election, and checks the rules between them. All nodes need the same
/// times.
pub(super) fn read_timings(layers: &Layers) -> Result<Timings, ConfigError> {
    let heartbeat = layers.number(&settings::HEARTBEAT_INTERVAL, MAX_MS)?;
    let min = layers.number(&settings::ELECTION_TIMEOUT_MIN, MAX_MS)?;
    let max = layers.number(&settings::ELECTION_TIMEOUT_MAX, MAX_MS)?;
    if min.value >= max.value {
        let origin = min.origin.or(&max.origin);
        return Err(ConfigError::InvalidTimeoutRange { origin, min_ms: min.value, max_ms: max.value });
    }
    // This is 2 × heartbeat >= 5/6 × minimum, in whole numbers. The lease is 5/6 of the minimum,
    // and must survive the loss of one heartbeat.
    if 12 * heartbeat.value >= 5 * min.value {
        return Err(ConfigError::HeartbeatTooSlow {
            origin: heartbeat.origin.or(&min.origin),
            interval_ms: heartbeat.value,
            min_ms: min.value,
            max_interval_ms: (5 * min.value - 1) / 12,
            needed_min_ms: 12 * heartbeat.value / 5 + 1,
        });
    }
    Ok(Timings {
        heartbeat_interval_ms: heartbeat.value,
        election_timeout_min_ms: min.value,
        election_timeout_max_ms: max.value,
        leader_term_ms: layers.number(&settings::LEADER_TERM, MAX_MS)?.value,
        net_timeout_ms: layers.number(&settings::NET_TIMEOUT, MAX_MS)?.value,
        election_retry_ms: layers.number(&settings::ELECTION_RETRY, MAX_MS)?.value,
    })
}
