//! What a node says at the terminal when it starts.

use std::io;

use crate::config::{Config, Storage};
use crate::http::ROUTES;
use crate::storage::Bucket;
use rollcall_core::NodeAddr;

/// Writes for the person at the terminal. If nobody reads there, the node runs all the same.
pub(super) fn say(text: &str) {
    say_to(&mut io::stdout(), text);
}

pub(super) fn say_to(out: &mut impl io::Write, text: &str) {
    // In one piece, so that the lines of nodes that share a terminal do not mix.
    let _ = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
}

pub(super) fn banner(config: &Config, bucket: &Bucket) -> String {
    let line = "=".repeat(43);
    let place = match &config.storage {
        Storage::Gcs { .. } => "Firebase Storage".to_owned(),
        Storage::Local { .. } => bucket.describe(),
    };
    let endpoints: Vec<String> = ROUTES.iter().map(|route| format!("     {route}\n")).collect();
    let endpoints = endpoints.concat();
    let (api, node, members) = (config.api.socket_addr(), config.node, members_line(config.node, &config.peers));
    format!(
        "{line}\nDistributed System: Leader Election + User Registration\n{line}\n\n\
         ✓ User registration system initialized ({place})\n\
         🚀 HTTP API server listening on http://{api}\n   Endpoints:\n{endpoints}\n\
         ✓ Leader election TCP listener bound to {node}\n{members}"
    )
}

pub(super) fn members_line(node: NodeAddr, peers: &[NodeAddr]) -> String {
    let others: Vec<String> = peers.iter().filter(|peer| **peer != node).map(ToString::to_string).collect();
    if others.is_empty() {
        "  A cluster of one node".to_owned()
    } else {
        format!("  Other nodes: {}", others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_is_gone_or_full_does_not_end_a_node() {
        struct Gone;
        impl io::Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        say_to(&mut Gone, "hello");
        let mut written = Vec::new();
        say_to(&mut written, "hello");
        assert_eq!(written, b"hello\n");
    }
}
