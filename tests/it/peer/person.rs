//! Somebody at a real peer process: types lines, reads events.

use std::path::Path;

use serde_json::Value;

use super::talker::Talker;
use crate::cluster::{rollcall, until};

/// Where peers shout in tests: on this machine, and not on the networks that it is in.
pub(crate) const LOOPBACK: &str = "127.255.255.255,127.0.0.1";

/// A running peer; it ends with the value.
pub(crate) struct Person {
    pub(crate) name: String,
    talker: Talker,
}

impl Person {
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
        let talker = Talker::start(name, command).await.expect("the program was built");
        Self { name: name.to_owned(), talker }
    }

    /// Where it listens.
    pub(crate) fn listens_at(&self) -> String {
        let listens_at = self.talker.told("listen");
        format!("127.0.0.1:{}", listens_at.rsplit(':').next().expect("a port"))
    }

    /// Where its health and metrics are, if it was told to serve them.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}", self.talker.told("metrics"))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.talker.events()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.talker.count(is_counted)
    }

    /// How often a text was shown.
    pub(crate) fn shown(&self, text: &str) -> usize {
        self.count(|event| event["event"] == "post" && event["text"] == text)
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.talker.types(line);
    }

    /// Waits until as many peers are here.
    pub(crate) async fn sees(&mut self, count: usize) {
        until("peers to find each other", async || {
            self.types("LIST");
            let lists = self.events();
            let last = lists.iter().rfind(|event| event["event"] == "list");
            last.is_some_and(|list| list["peers"].as_array().is_some_and(|peers| peers.len() == count))
        })
        .await;
    }

    /// Waits until a text is here, and gives who said it.
    pub(crate) async fn hears(&self, text: &str) -> Value {
        let is_it = |event: &Value| event["event"] == "post" && event["text"] == text;
        self.talker.sees(&format!("{text:?} at {}", self.name), is_it).await["from"].clone()
    }

    /// Ends it at once.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Lets it end by itself, as the person wishes.
    pub(crate) async fn quits(mut self) -> Vec<Value> {
        self.types("QUIT");
        let status = self.talker.end().await;
        assert!(status.success(), "{status:?}");
        self.events()
    }
}
