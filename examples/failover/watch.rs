//! Observes nodes that were started elsewhere, and prints the requests that they serve.

use std::io::{self, Write};
use std::time::Duration;

use rollcall_core::clock::wall_now;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::probes::{Probes, Request};

/// Timeout for the next answer of any node. A request without an answer is repeated until then.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn watch(urls: Vec<String>) -> anyhow::Result<()> {
    let mut probes = Probes::start(&urls, &Request::Leader)?;
    let mut end = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            result = probes.next(Instant::now() + PROBE_TIMEOUT) => {
                let result = result?;
                if result.is_served() {
                    let now = wall_ms();
                    let ago = |instant: Instant| i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX);
                    let (received, sent) = (now - ago(result.received), now - ago(result.sent));
                    writeln!(io::stdout(), "{received} {sent} {} {}", result.node, result.term)?;
                }
            }
        }
    }
}

fn wall_ms() -> i64 {
    let now = wall_now();
    now.unix_seconds() * 1000 + i64::from(now.subsecond_ms())
}
