//! What a person, or a program, sees.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::terminal::PendingOutput;
use crate::cli::non_blocking_writer::NonBlockingWriter;
use rollcall_chat::Peer;
use rollcall_chat::console::notice_lines;
use rollcall_chat::engine::Notice;
use rollcall_core::escape::escape_json;

/// At the end nobody waits longer for a reader that takes nothing.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where things are shown, and how. If nobody reads it any more, the chat goes on for the others until the person ends it.
pub(super) struct ChatDisplay {
    target: DisplayTarget,
    is_json: bool,
    is_verbose: bool,
}

/// Where to.
pub(super) enum DisplayTarget {
    /// Above the line that is edited.
    Terminal(Arc<PendingOutput>),
    /// Standard output.
    Stdout(NonBlockingWriter),
}

impl ChatDisplay {
    pub(super) fn new(target: DisplayTarget, is_json: bool, is_verbose: bool) -> Self {
        Self { target, is_json, is_verbose }
    }

    /// Says who this peer is, and where.
    pub(super) fn show_ready(&mut self, peer: &Peer, name: &str) {
        let (id, listens_at, lan_port) = (peer.id(), peer.mesh_addr(), peer.lan_port());
        let event = json!({
            "event": "ready", "name": name, "id": id, "listen": listens_at.to_string(), "lan_port": lan_port,
            "metrics": peer.metrics_addr().map(|addr| addr.to_string()),
        });
        let lan = lan_port.map_or_else(|| "no LAN".to_owned(), |port| format!("LAN port {port}"));
        let metrics =
            peer.metrics_addr().map_or_else(String::new, |addr| format!(", metrics at http://{addr}/metrics"));
        let line = format!("{name}, id {id}, listening at {listens_at}, {lan}{metrics}; HELP shows what can be typed");
        self.show_reply(&event, || vec![line]);
    }

    /// Tells what happened.
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

    /// Shows the answer to a command.
    pub(super) fn show_reply(&mut self, event: &serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
        let text = if self.is_json { escape_json(&event.to_string()) } else { lines().join("\n") };
        self.write(&format!("{text}\n"));
    }

    /// Asks, if the line editor does not.
    pub(super) fn show_question(&mut self, question: &str) {
        // A question stays on the line on which it is answered.
        if !self.is_json && matches!(self.target, DisplayTarget::Stdout(_)) {
            self.write(question);
        }
    }

    /// Shows more, or less again; whether it is more.
    pub(super) fn toggle_verbose(&mut self) -> bool {
        self.is_verbose ^= true;
        self.is_verbose
    }

    /// Waits until more can be shown.
    pub(super) async fn wait_for_room(&self) {
        match &self.target {
            DisplayTarget::Terminal(pending_output) => pending_output.wait_for_room().await,
            DisplayTarget::Stdout(writer) => writer.wait_for_room().await,
        }
    }

    /// Waits until more can be asked for. (Who edits a line sees what becomes of it.)
    pub(super) async fn wait_for_room_for_replies(&self) {
        if let DisplayTarget::Stdout(writer) = &self.target {
            writer.wait_for_room().await;
        }
    }

    /// Waits until all is shown, or nobody takes it. (When the line editor has ended, it is.)
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
