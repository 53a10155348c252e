//! Somebody at a real peer process: types lines, reads events.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cluster::{rollcall, until};

/// Where peers shout in tests: on this machine, and not on the networks that it is in.
pub(crate) const LOOPBACK: &str = "127.255.255.255,127.0.0.1";

/// A running peer; it ends with the value.
pub(crate) struct Person {
    pub(crate) name: String,
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<Value>>>,
}

impl Person {
    /// Starts a peer with these flags and waits until it is ready.
    pub(crate) async fn start(dir: &Path, name: &str, flags: &[&str]) -> Self {
        let mut command = rollcall(dir);
        for variable in rollcall::peer::settings::variables() {
            command.env_remove(variable);
        }
        command.args(["peer", "--json", "--name", name]).args(flags);
        // Short beats, so that a dead link is noticed within a test.
        command
            .env("P2P_LAN_ADDRESSES", LOOPBACK)
            .env("P2P_HEARTBEAT_INTERVAL", "1s")
            .env("P2P_HEARTBEAT_TIMEOUT", "2s")
            .env("P2P_CONNECT_TIMEOUT", "2s");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program was built");
        let screen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (out, shown) = (child.stdout.take().expect("piped"), Arc::clone(&screen));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is JSON");
                shown.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        let keyboard = child.stdin.take();
        let person = Self { name: name.to_owned(), child, keyboard, screen };
        until("a peer that is ready", async || person.count(|event| event["event"] == "ready") == 1).await;
        person
    }

    /// Where it listens.
    pub(crate) fn listens_at(&self) -> String {
        let port = self.events()[0]["listen"].as_str().expect("an address").rsplit(':').next().map(str::to_owned);
        format!("127.0.0.1:{}", port.expect("a port"))
    }

    /// Where its health and metrics are, if it was told to serve them.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}", self.events()[0]["metrics"].as_str().expect("it was told to"))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.events().iter().filter(|event| is_counted(event)).count()
    }

    /// How often a text was shown.
    pub(crate) fn shown(&self, text: &str) -> usize {
        self.count(|event| event["event"] == "post" && event["text"] == text)
    }

    pub(crate) fn types(&mut self, line: &str) {
        let keyboard = self.keyboard.as_mut().expect("it runs");
        writeln!(keyboard, "{line}").and_then(|()| keyboard.flush()).expect("it reads");
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
        until(&format!("{text:?} at {}", self.name), async || self.shown(text) > 0).await;
        let heard = self.events().into_iter().find(|event| event["event"] == "post" && event["text"] == text);
        heard.expect("waited for")["from"].clone()
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Lets it end by itself, as the person wishes.
    pub(crate) async fn quits(mut self) -> Vec<Value> {
        self.types("QUIT");
        let mut status = None;
        until("the end of a peer", async || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        self.events()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} saw:", self.name);
            for event in self.events().iter().rev().take(40).rev() {
                eprintln!("{event}");
            }
        }
    }
}
