//! Output of `rollcall peer`: text for users, or JSON lines for programs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::terminal::PendingOutput;
use crate::cli::non_blocking_writer::NonBlockingWriter;
use rollcall_chat::Peer;
use rollcall_chat::console::notice_lines;
use rollcall_chat::engine::Notice;
use rollcall_core::escape::escape_json;

/// Longest wait during the shutdown for a reader of standard output that reads nothing.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Output target and format. If the reader of the output has ended, the output is dropped and the
/// peer continues until the user ends it.
pub(super) struct ChatDisplay {
    target: DisplayTarget,
    is_json: bool,
    is_verbose: bool,
}

/// Output target.
pub(super) enum DisplayTarget {
    /// Terminal, above the input line.
    Terminal(Arc<PendingOutput>),
    /// Standard output.
    Stdout(NonBlockingWriter),
}

impl ChatDisplay {
    pub(super) fn new(target: DisplayTarget, is_json: bool, is_verbose: bool) -> Self {
        Self { target, is_json, is_verbose }
    }

    /// Shows the identity and the addresses of this peer.
    pub(super) fn show_ready(&mut self, peer: &Peer, name: &str) {
        let (id, mesh_addr, lan_port) = (peer.id(), peer.mesh_addr(), peer.lan_port());
        let event = json!({
            "event": "ready", "name": name, "id": id, "listen": mesh_addr.to_string(), "lan_port": lan_port,
            "metrics": peer.metrics_addr().map(|addr| addr.to_string()),
        });
        let lan = lan_port.map_or_else(|| "no LAN".to_owned(), |port| format!("LAN port {port}"));
        let metrics =
            peer.metrics_addr().map_or_else(String::new, |addr| format!(", metrics at http://{addr}/metrics"));
        let line = format!("{name}, id {id}, listening at {mesh_addr}, {lan}{metrics}; HELP shows the commands");
        self.show_reply(&event, || vec![line]);
    }

    /// Shows notices.
    pub(super) fn show_notices(&mut self, notices: &[Notice]) {
        let mut text = String::new();
        for notice in notices {
            if self.is_json {
                text.push_str(&escape_json(&serde_json::to_string(notice).expect("notices are plain data")));
                text.push('\n');
            } else {
                for line in notice_lines(notice, self.is_verbose) {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
        self.write(&text);
    }

    /// Shows the reply to a command: `event` as JSON, or `lines` as text.
    pub(super) fn show_reply(&mut self, event: &serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
        let text = if self.is_json { escape_json(&event.to_string()) } else { lines().join("\n") };
        self.write(&format!("{text}\n"));
    }

    /// Shows a question, unless the line editor shows it as its prompt.
    pub(super) fn show_question(&mut self, question: &str) {
        // No line break: the answer follows on the same line.
        if !self.is_json && matches!(self.target, DisplayTarget::Stdout(_)) {
            self.write(question);
        }
    }

    /// Toggles the verbose mode. Returns whether it is on.
    pub(super) fn toggle_verbose(&mut self) -> bool {
        self.is_verbose ^= true;
        self.is_verbose
    }

    /// Waits until the queue of the output has room for notices.
    pub(super) async fn wait_for_room(&self) {
        match &self.target {
            DisplayTarget::Terminal(pending_output) => pending_output.wait_for_room().await,
            DisplayTarget::Stdout(writer) => writer.wait_for_room().await,
        }
    }

    /// Waits until the queue of the output has room for replies. On a terminal it never waits, so
    /// that the user can always type.
    pub(super) async fn wait_for_room_for_replies(&self) {
        if let DisplayTarget::Stdout(writer) = &self.target {
            writer.wait_for_room().await;
        }
    }

    /// Waits until the output is written, or the reader has read nothing for [`FLUSH_TIMEOUT`]. On
    /// a terminal everything is written when it is closed.
    pub(super) async fn flush(&self) {
        if let DisplayTarget::Stdout(writer) = &self.target {
            writer.flush(FLUSH_TIMEOUT).await;
        }
    }

    fn write(&mut self, text: &str) {
        match &self.target {
            DisplayTarget::Terminal(pending_output) => pending_output.write(text),
            DisplayTarget::Stdout(writer) => writer.write(text),
        }
    }
}
