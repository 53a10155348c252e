//! A client says that it is online.

use super::{LookupError, Registry, lock};
use crate::domain::{Addr, BootMs, Username};

/// Heartbeats that fit in one TTL if the client follows our advice, so that two may be lost without harm.
const BEATS_PER_TTL: u64 = 3;

/// A heartbeat that was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beat {
    /// Where others are now told to reach the client, if it ever told.
    pub addr: Option<Addr>,
    /// For how long it stays online.
    pub ttl_ms: u64,
    /// When to send the next heartbeat.
    pub next_heartbeat_ms: u64,
}

impl Registry {
    /// Marks a registered user as online from `now`, at `addr` if one was told. Only a name that is not in the index
    /// costs a read of the bucket.
    ///
    /// # Errors
    /// [`LookupError`] if nobody registered under that name, or it cannot be found out.
    pub async fn heartbeat(&self, name: &Username, addr: Option<Addr>, now: BootMs) -> Result<Beat, LookupError> {
        let known = lock(&self.0.index).get(name).map(|facts| facts.addr);
        let registered = match known {
            Some(registered) => registered,
            None => self.look_up(name, now).await?.addr,
        };
        let addr = self.presence(now, |table, now| table.heartbeat(name, addr, registered, now));
        let ttl_ms = self.ttl_ms();
        Ok(Beat { addr, ttl_ms, next_heartbeat_ms: (ttl_ms / BEATS_PER_TTL).max(1) })
    }
}
