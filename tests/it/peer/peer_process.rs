//! Real peer process with JSON output: the test types lines and reads events.

use std::path::Path;

use serde_json::Value;

use super::json_process::JsonProcess;
use crate::cluster::{rollcall, until};

/// Destinations of LAN broadcasts in tests: only this machine.
pub(crate) const LOOPBACK: &str = "127.255.255.255,127.0.0.1";

/// Running peer. Dropping it ends the process.
pub(crate) struct PeerProcess {
    pub(crate) name: String,
    process: JsonProcess,
}

impl PeerProcess {
    /// Starts a peer with these flags and waits until it is ready. Its heartbeats are frequent, so
    /// that a test detects a dead link soon.
    pub(crate) async fn start(dir: &Path, name: &str, flags: &[&str]) -> Self {
        let heartbeats = [("P2P_HEARTBEAT_INTERVAL", "1s"), ("P2P_HEARTBEAT_TIMEOUT", "2s")];
        Self::start_with(dir, name, flags, &heartbeats).await
    }

    /// Starts a peer with these flags and variables, and waits until it is ready.
    pub(crate) async fn start_with(dir: &Path, name: &str, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = rollcall(dir);
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        command.args(["peer", "--json", "--name", name]).args(flags);
        command.env("P2P_LAN_ADDRESSES", LOOPBACK).env("P2P_CONNECT_TIMEOUT", "2s").envs(variables.iter().copied());
        let process = JsonProcess::start(name, command).await.expect("the program was built");
        Self { name: name.to_owned(), process }
    }

    /// Mesh address of the peer on loopback.
    pub(crate) fn mesh_addr(&self) -> String {
        let listen_addr = self.process.ready_field("listen");
        format!("127.0.0.1:{}", listen_addr.rsplit(':').next().expect("a port"))
    }

    /// Base URL of its metrics server.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}", self.process.ready_field("metrics"))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.process.events()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.process.count(is_counted)
    }

    /// Number of posts with this text.
    pub(crate) fn post_count(&self, text: &str) -> usize {
        self.count(|event| event["event"] == "post" && event["text"] == text)
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.process.type_line(line);
    }

    /// Waits until `LIST` shows this number of peers.
    pub(crate) async fn wait_for_peers(&mut self, count: usize) {
        until("peers to find each other", async || {
            self.type_line("LIST");
            let lists = self.events();
            let last = lists.iter().rfind(|event| event["event"] == "list");
            last.is_some_and(|list| list["peers"].as_array().is_some_and(|peers| peers.len() == count))
        })
        .await;
    }

    /// Waits for a post with this text. Returns its author.
    pub(crate) async fn wait_for_post(&self, text: &str) -> Value {
        let is_wanted = |event: &Value| event["event"] == "post" && event["text"] == text;
        self.process.wait_for_event(&format!("{text:?} at {}", self.name), is_wanted).await["from"].clone()
    }

    /// Kills the process.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends the peer with QUIT. Returns all its events.
    pub(crate) async fn quit(mut self) -> Vec<Value> {
        self.type_line("QUIT");
        let status = self.process.wait_for_exit().await;
        assert!(status.success(), "{status:?}");
        self.events()
    }
}
