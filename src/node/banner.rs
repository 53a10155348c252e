//! Startup banner of a node on the terminal.

use std::io;

use crate::config::{Config, StorageConfig};
use crate::http::ROUTES;
use crate::storage::{Bucket, DriveBackend};
use rollcall_core::NodeAddr;

/// Prints a text to the terminal. The node continues if the terminal is closed.
pub(super) fn print(text: &str) {
    print_to(&mut io::stdout(), text);
}

/// Writes a text and a newline, and ignores errors.
pub(super) fn print_to(out: &mut impl io::Write, text: &str) {
    // The text is written at once, so that the lines of several nodes on one terminal do not mix.
    let _ = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
}

/// The banner with the node's storage, addresses and endpoints.
pub(super) fn banner(config: &Config, bucket: &Bucket) -> String {
    let line = "=".repeat(43);
    let place = match &config.storage {
        StorageConfig::Gcs { .. } => "Firebase Storage".to_owned(),
        StorageConfig::Drive(_) => format!("{}; {}", bucket.describe(), DriveBackend::EVIDENCE),
        StorageConfig::Local { .. } | StorageConfig::S3(_) | StorageConfig::Azure(_) => bucket.describe(),
    };
    let endpoints: Vec<String> = ROUTES.iter().map(|route| format!("     {route}\n")).collect();
    let endpoints = endpoints.concat();
    let (scheme, api) = (config.api.scheme(), config.api.socket_addr());
    let (node, members) = (config.node, members_line(config.node, &config.peers));
    format!(
        "{line}\nDistributed System: Leader Election + User Registration\n{line}\n\n\
         ✓ User registration system initialized ({place})\n\
         🚀 HTTP API server listening on {scheme}://{api}\n   Endpoints:\n{endpoints}\n\
         ✓ Leader election TCP listener bound to {node}\n{members}"
    )
}

/// The line of the banner about the other nodes.
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
    fn errors_of_the_output_are_ignored() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        print_to(&mut Closed, "hello");
        let mut written = Vec::new();
        print_to(&mut written, "hello");
        assert_eq!(written, b"hello\n");
    }
}
