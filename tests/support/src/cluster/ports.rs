//! Free ports.
//!
//! They are below the range from which the system takes ports for outgoing connections. A node that
//! is restarted needs its port again, so no outgoing connection may have taken it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

const PORT_RANGE: Range<u16> = 12_000..32_000;
const MAX_ATTEMPTS: usize = 1000;

/// Ports that tests of this process have taken. They are never returned, because there are enough.
static RESERVED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Port of the election.
    pub election: u16,
    /// Port of the HTTP API.
    pub api: u16,
}

impl Ports {
    /// Two free ports; see [`free_port`].
    pub fn free() -> Self {
        Self { election: free_port(), api: free_port() }
    }

    /// The node's name.
    pub fn name(self) -> String {
        format!("127.0.0.1:{}", self.election)
    }

    /// URL of the node's API.
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }
}

/// A port that was free a moment ago. Another program may take it first. A node then exits with an
/// error.
pub fn free_port() -> u16 {
    let mut reserved = RESERVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reserved = reserved.get_or_insert_default();
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut drawn = (0..MAX_ATTEMPTS).map(|_| rand::random_range(PORT_RANGE));
    drawn.find(|port| is_free(*port) && reserved.insert(*port)).expect("no free port")
}
