//! Captured log lines. One subscriber serves all tests of the process, and each test selects the
//! lines of its own nodes.

use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: OnceLock<Mutex<Vec<String>>> = OnceLock::new();

struct CapturedLogs;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written =
            if field.name() == "message" { write!(self.0, "{value:?}") } else { write!(self.0, " {field}={value:?}") };
        written.expect("writing to a String cannot fail");
    }
}

impl Subscriber for CapturedLogs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().contains("election")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = format!("{} {}", event.metadata().level(), text.0);
        LINES.get_or_init(Mutex::default).lock().unwrap().push(line);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Starts to capture lines, if no test has done so yet.
pub(super) fn open() {
    let _ = tracing::subscriber::set_global_default(CapturedLogs);
}

/// The captured lines that contain all of `words`.
pub(super) fn lines(words: &[&str]) -> Vec<String> {
    let lines = LINES.get_or_init(Mutex::default).lock().unwrap();
    lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).cloned().collect()
}
