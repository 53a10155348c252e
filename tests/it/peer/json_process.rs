//! Process that reads lines and writes events as JSON lines: a peer of this program or of another.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cluster::until;

/// Running process. Dropping it ends the process.
pub(crate) struct JsonProcess {
    pub(crate) name: String,
    child: Child,
    stdin: ChildStdin,
    received: Arc<Mutex<Vec<Value>>>,
}

impl JsonProcess {
    /// Starts the process and waits for its `ready` event.
    pub(crate) async fn start(name: &str, mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let received: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (out, events) = (child.stdout.take().expect("piped"), Arc::clone(&received));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is JSON");
                events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        let stdin = child.stdin.take().expect("piped");
        let process = Self { name: name.to_owned(), child, stdin, received };
        until(&format!("{name} to be ready"), async || process.count(|event| event["event"] == "ready") == 1).await;
        Ok(process)
    }

    /// Field of the `ready` event.
    pub(crate) fn ready_field(&self, field: &str) -> String {
        self.events()[0][field].as_str().expect("a text").to_owned()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn find(&self, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.events().into_iter().find(|event| is_wanted(event))
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Value) -> bool) -> usize {
        self.events().iter().filter(|event| is_counted(event)).count()
    }

    /// Waits for the first event that matches.
    pub(crate) async fn wait_for_event(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.find(&is_wanted).is_some()).await;
        self.find(&is_wanted).expect("waited for")
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush()).expect("it reads");
    }

    /// Waits for the end of the process.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        until(&format!("the end of {}", self.name), async || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        status.expect("waited for")
    }
}

impl Drop for JsonProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- last events of {}:", self.name);
            for event in self.events().iter().rev().take(40).rev() {
                eprintln!("{event}");
            }
        }
    }
}
