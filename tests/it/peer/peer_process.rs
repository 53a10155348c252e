//! Somebody at a real peer process: types lines, reads events.

use std::path::Path;

use serde_json::Value;

use super::json_process::JsonProcess;
use crate::cluster::{rollcall, until};

/// Where peers shout in tests: on this machine, and not on the networks that it is in.
pub(crate) const LOOPBACK: &str = "127.255.255.255,127.0.0.1";

/// A running peer; it ends with the value.
pub(crate) struct PeerProcess {
    pub(crate) name: String,
    process: JsonProcess,
}

impl PeerProcess {
    /// Starts a peer with these flags and waits until it is ready.
    pub(crate) async fn start(dir: &Path, name: &str, flags: &[&str]) -> Self {
        let mut command = rollcall(dir);
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        command.args(["peer", "--json", "--name", name]).args(flags);
        // Short beats, so that a dead link is noticed within a test.
        command
            .env("P2P_LAN_ADDRESSES", LOOPBACK)
            .env("P2P_HEARTBEAT_INTERVAL", "1s")
            .env("P2P_HEARTBEAT_TIMEOUT", "2s")
            .env("P2P_CONNECT_TIMEOUT", "2s");
        let process = JsonProcess::start(name, command).await.expect("the program was built");
        Self { name: name.to_owned(), process }
    }

    /// Where it listens.
    pub(crate) fn mesh_addr(&self) -> String {
        let listens_at = self.process.ready_field("listen");
        format!("127.0.0.1:{}", listens_at.rsplit(':').next().expect("a port"))
    }

    /// Where its health and metrics are, if it was told to serve them.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}", self.process.ready_field("metrics"))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.process.events()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.process.count(is_counted)
    }

    /// How often a text was shown.
    pub(crate) fn post_count(&self, text: &str) -> usize {
        self.count(|event| event["event"] == "post" && event["text"] == text)
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.process.type_line(line);
    }

    /// Waits until as many peers are here.
    pub(crate) async fn wait_for_peers(&mut self, count: usize) {
        until("peers to find each other", async || {
            self.type_line("LIST");
            let lists = self.events();
            let last = lists.iter().rfind(|event| event["event"] == "list");
            last.is_some_and(|list| list["peers"].as_array().is_some_and(|peers| peers.len() == count))
        })
        .await;
    }

    /// Waits until a text is here, and gives who said it.
    pub(crate) async fn wait_for_post(&self, text: &str) -> Value {
        let is_it = |event: &Value| event["event"] == "post" && event["text"] == text;
        self.process.wait_for_event(&format!("{text:?} at {}", self.name), is_it).await["from"].clone()
    }

    /// Ends it at once.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Lets it end by itself, as the person wishes.
    pub(crate) async fn quit(mut self) -> Vec<Value> {
        self.type_line("QUIT");
        let status = self.process.wait_for_exit().await;
        assert!(status.success(), "{status:?}");
        self.events()
    }
}
