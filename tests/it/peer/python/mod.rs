//! Our real peer beside small ones in Python (`tests/peers`), which were written from the requirements and not from our
//! code: a second opinion on every form that goes over the wire.

mod lan;
mod mesh;

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cluster::until;

/// A small peer that runs; it ends with the value.
struct Stranger {
    script: &'static str,
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<Value>>>,
}

impl Stranger {
    /// Starts one of `tests/peers` and waits until it is ready.
    async fn start(script: &'static str, flags: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        let mut command = Command::new("python3");
        command.arg(path).args(flags).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("python3 is missing; install the package python3 (these tests need nothing beyond it)")
            }
            Err(error) => panic!("python3 does not start: {error}"),
        };
        let screen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (out, shown) = (child.stdout.take().expect("piped"), Arc::clone(&screen));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is JSON");
                shown.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        let keyboard = child.stdin.take().expect("piped");
        let stranger = Self { script, child, keyboard, screen };
        until(&format!("{script} to be ready"), async || stranger.count(|event| event["event"] == "ready") == 1).await;
        stranger
    }

    /// A field of what it said of itself at its start.
    fn told(&self, field: &str) -> String {
        self.events()[0][field].as_str().expect("a text").to_owned()
    }

    fn events(&self) -> Vec<Value> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.events().into_iter().find(|event| is_wanted(event))
    }

    fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.events().iter().filter(|event| is_counted(event)).count()
    }

    /// Waits for the first event of this kind.
    async fn sees(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.find(&is_wanted).is_some()).await;
        self.find(&is_wanted).expect("waited for")
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").and_then(|()| self.keyboard.flush()).expect("it reads");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} saw:", self.script);
            for event in self.events().iter().rev().take(40).rev() {
                eprintln!("{event}");
            }
        }
    }
}
