//! What a person, or a program, sees.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::terminal::Above;
use crate::cli::outlet::Outlet;
use rollcall_chat::Peer;
use rollcall_chat::engine::Notice;
use rollcall_chat::screen::notice_lines;
use rollcall_core::escape::escape_json;

/// At the end nobody waits longer for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where things are shown, and how. If nobody reads it any more, the chat goes on for the others until the person ends it.
pub(super) struct Display {
    to: To,
    is_json: bool,
    is_verbose: bool,
}

/// Where to.
pub(super) enum To {
    /// Above the line that is edited.
    Terminal(Arc<Above>),
    /// Standard output.
    Stdout(Outlet),
}

impl Display {
    pub(super) fn new(to: To, is_json: bool, is_verbose: bool) -> Self {
        Self { to, is_json, is_verbose }
    }

    /// Says who this peer is, and where.
    pub(super) fn ready(&mut self, peer: &Peer, name: &str) {
        let (id, listens_at, lan_port) = (peer.id(), peer.listens_at(), peer.lan_port());
        let event = json!({
            "event": "ready", "name": name, "id": id, "listen": listens_at.to_string(), "lan_port": lan_port,
            "metrics": peer.metrics_at().map(|addr| addr.to_string()),
        });
        let lan = lan_port.map_or_else(|| "no LAN".to_owned(), |port| format!("LAN port {port}"));
        let metrics = peer.metrics_at().map_or_else(String::new, |addr| format!(", metrics at http://{addr}/metrics"));
        let line = format!("{name}, id {id}, listening at {listens_at}, {lan}{metrics}; HELP shows what can be typed");
        self.show(&event, || vec![line]);
    }

    /// Tells what happened.
    pub(super) fn tell(&mut self, notices: &[Notice]) {
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
    pub(super) fn show(&mut self, event: &serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
        let text = if self.is_json { escape_json(&event.to_string()) } else { lines().join("\n") };
        self.write(&format!("{text}\n"));
    }

    /// Asks, if the line editor does not.
    pub(super) fn ask(&mut self, question: &str) {
        // A question stays on the line on which it is answered.
        if !self.is_json && matches!(self.to, To::Stdout(_)) {
            self.write(question);
        }
    }

    /// Shows more, or less again; whether it is more.
    pub(super) fn toggle_verbose(&mut self) -> bool {
        self.is_verbose ^= true;
        self.is_verbose
    }

    /// Waits until more can be shown.
    pub(super) async fn room(&self) {
        match &self.to {
            To::Terminal(above) => above.room().await,
            To::Stdout(out) => out.room().await,
        }
    }

    /// Waits until more can be asked for. (Who edits a line sees what becomes of it.)
    pub(super) async fn room_for_answers(&self) {
        if let To::Stdout(out) = &self.to {
            out.room().await;
        }
    }

    /// Waits until all is shown, or nobody takes it. (When the line editor has ended, it is.)
    pub(super) async fn end(&self) {
        if let To::Stdout(out) = &self.to {
            out.end(PATIENCE).await;
        }
    }

    fn write(&mut self, text: &str) {
        match &self.to {
            To::Terminal(above) => above.write(text),
            To::Stdout(out) => out.write(text),
        }
    }
}
