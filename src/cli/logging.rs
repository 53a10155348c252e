//! Log on standard error for all commands: text for people, or JSON lines for programs.
//!
//! Invariant: each event is one line without control characters, even if its fields contain text of
//! other users.

use std::fmt;
use std::io::{self, IsTerminal, Write, stderr};
use std::panic::set_hook;
use std::sync::Arc;

use tracing::field::{Field, display};
use tracing::{error, warn};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use super::non_blocking_writer::NonBlockingWriter;
use rollcall_chat::settings::{LogFormat, LogLevel, PeerSettings};
use rollcall_core::escape::{escape_controls, escape_json};

/// Environment variable with the level, or with levels of modules as `target=level`.
const LOG_VARIABLE: &str = "RUST_LOG";

/// Starts a text log with the level of `RUST_LOG`. It has colours only on a terminal, and only if
/// `NO_COLOR` is not set.
pub(super) fn start_logging() {
    let (filter, invalid) = filter_from_environment(LevelFilter::INFO);
    start(filter, LogFormat::Text, Arc::new(|| Box::new(stderr())));
    warn_of_invalid_variable(invalid);
}

/// Starts the log of a chat peer, with the level and the format of its settings.
///
/// Without a level in the settings, `RUST_LOG` applies. Without both, the level is `warn` if
/// standard error is a terminal, because log lines disturb the chat; otherwise it is `info`. The
/// log is written by a separate thread, because the event loop of the peer must not block; lines
/// that are not read in time are dropped. Returns the writer.
///
/// # Errors
/// The error of the system if no thread can be started.
pub(super) fn start_peer_logging(settings: &PeerSettings) -> io::Result<NonBlockingWriter> {
    let (filter, invalid) = match settings.log_level {
        Some(level) => (level_for_all(filter_of(level)), None),
        None => filter_from_environment(if stderr().is_terminal() { LevelFilter::WARN } else { LevelFilter::INFO }),
    };
    let loss_notice = match settings.log_format {
        LogFormat::Text => lost_lines_as_text,
        LogFormat::Json => lost_lines_as_json,
    };
    let writer = NonBlockingWriter::stderr(loss_notice)?;
    let lines = writer.clone();
    start(filter, settings.log_format, Arc::new(move || Box::new(LogLines(lines.clone()))));
    warn_of_invalid_variable(invalid);
    Ok(writer)
}

/// Creates the writer for one event.
type OpenWriter = Arc<dyn Fn() -> Box<dyn Write> + Send + Sync>;

/// Writer that takes the line of one event in each write.
struct LogLines(NonBlockingWriter);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Message in place of dropped log lines.
const LOST_LINES: &str = "lines of the log were lost: they were not read in time";

fn lost_lines_as_text(lines: u64) -> String {
    format!("{}  WARN {}: {LOST_LINES} lines={lines}\n", timestamp(), module_path!())
}

fn lost_lines_as_json(lines: u64) -> String {
    // No value needs an escape. The keys have the same order as in all other lines.
    format!(
        "{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"message\":\"{LOST_LINES}\",\"lines\":{lines},\"target\":\"{}\"}}\n",
        timestamp(),
        module_path!()
    )
}

/// Current time in the format of the log.
fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn level_for_all(level: LevelFilter) -> Targets {
    Targets::new().with_default(level)
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Filter of `RUST_LOG`, or the default level. Also returns the error of an invalid variable.
fn filter_from_environment(default: LevelFilter) -> (Targets, Option<String>) {
    let Some(text) = std::env::var_os(LOG_VARIABLE).filter(|text| !text.is_empty()) else {
        return (level_for_all(default), None);
    };
    match parse_filter(&text.to_string_lossy()) {
        Ok(filter) => (filter, None),
        Err(error) => (level_for_all(default), Some(error.to_string())),
    }
}

/// Parses a filter. Empty directives, as after a trailing comma, are ignored.
fn parse_filter(text: &str) -> Result<Targets, ParseError> {
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    directives.join(",").parse()
}

fn warn_of_invalid_variable(invalid: Option<String>) {
    if let Some(reason) = invalid {
        warn!(variable = LOG_VARIABLE, reason, "invalid log filter is ignored; give error, warn, info, debug or trace");
    }
}

/// Logs each panic as one event. The standard hook writes several lines, and a backtrace if
/// `RUST_BACKTRACE` is set. Input of other users that makes a library panic would fill the log with
/// them.
fn log_panics() {
    set_hook(Box::new(|panic| {
        let reason = panic.payload_as_str().unwrap_or("unknown");
        let location = panic.location().map(display);
        error!(reason, location, "a thread panicked");
    }));
}

fn start(filter: Targets, format: LogFormat, open: OpenWriter) {
    log_panics();
    // A line that cannot be written is dropped. Reporting the error on standard error would panic.
    let lines = layer().log_internal_errors(false);
    match format {
        LogFormat::Text => registry()
            .with(
                lines
                    .with_ansi(stderr().is_terminal() && !is_set("NO_COLOR"))
                    .fmt_fields(debug_fn(write_field).delimited(" "))
                    .with_writer(move || open()),
            )
            .with(filter)
            .init(),
        LogFormat::Json => registry()
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(move || SanitizedJson(open())),
            )
            .with(filter)
            .init(),
    }
}

/// Writes one field of a text line. A value that could be read as several fields is quoted.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = escape_controls(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&value),
        name if is_one_value(&value) => write!(writer, "{name}={value}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

/// Whether the text is one quoted text, or has no character that ends a value.
fn is_one_value(text: &str) -> bool {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = quoted else { return !text.contains([' ', '"', '=', '\\']) };
    let mut chars = inner.chars();
    // A backslash escapes the character after it. The last one must not escape the closing quote.
    while let Some(c) = chars.next() {
        if c == '"' || (c == '\\' && chars.next().is_none()) {
            return false;
        }
    }
    true
}

/// Writer that escapes control characters in JSON lines. Each write is one event that ends with a
/// line break.
struct SanitizedJson<W>(W);

impl<W: Write> Write for SanitizedJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        self.0.write_all((escape_json(line) + end).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::{Level, info};

    use super::*;

    /// Name that another user can choose.
    const HOSTILE: &str = "eve\u{1b}[2J\u{9b}31m\u{202e}\nERROR forged";

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl CapturedLog {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_value_that_looks_like_several_fields_is_quoted() {
        for one in ["alice", "127.0.0.1:8080", "Zoë", "", r#""a b""#, r#""a \"b\" c""#, r#""a\\""#, "[1,2]"] {
            assert!(is_one_value(one), "{one}");
        }
        for several in ["mona ali", "x id=1", "a=b", "\"", r#""a" b="c""#, r#""a\""#, r#"a"b"#, r"a\u{1b}"] {
            assert!(!is_one_value(several), "{several}");
        }
    }

    /// Environment variable that makes the test below panic in another process, because a panic
    /// hook is one for all tests of a process.
    const PANIC: &str = "ROLLCALL_TEST_PANIC";

    #[test]
    fn a_panic_is_one_line_of_the_log() {
        if is_set(PANIC) {
            start_logging();
            let _ = std::thread::spawn(|| panic!("{HOSTILE}")).join();
            return;
        }
        let name = "cli::logging::tests::a_panic_is_one_line_of_the_log";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(PANIC, "1").env("RUST_BACKTRACE", "full");
        let output = command.env_remove(LOG_VARIABLE).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("ERROR rollcall::cli::logging: a thread panicked reason=\"eve\\u{1b}[2J"), "{log}");
        assert!(log.contains(" location=src/cli/logging.rs:"), "{log}");
    }

    fn log_hostile_texts() {
        info!(peer = %HOSTILE, reason = HOSTILE, link = 7, "{HOSTILE} joined");
    }

    #[test]
    fn the_environment_variable_sets_levels_of_modules() {
        let is_logged = |text: &str, target: &str, level| parse_filter(text).unwrap().would_enable(target, &level);
        assert!(is_logged("info", "rollcall::http", Level::INFO) && !is_logged("info", "rollcall::http", Level::DEBUG));
        assert!(is_logged("WARN, rollcall::http=debug,", "rollcall::http::gate", Level::DEBUG));
        assert!(!is_logged("WARN, rollcall::http=debug,", "rollcall::peer", Level::INFO));
        assert!(!is_logged("off", "rollcall", Level::ERROR) && is_logged("rollcall", "rollcall", Level::TRACE));
        assert!(parse_filter("rollcall=loud").is_err());
    }

    #[test]
    fn the_notice_about_dropped_lines_has_the_format_of_a_log_line() {
        let text = lost_lines_as_text(7);
        assert!(text.contains("Z  WARN rollcall::cli::logging: lines of the log were lost"), "{text}");
        assert!(text.ends_with(" lines=7\n") && text.lines().count() == 1, "{text}");
        let json = lost_lines_as_json(7);
        let event: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((event["level"].as_str(), event["lines"].as_u64()), (Some("WARN"), Some(7)));
        let time = event["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.contains('.'), "{time}");
        assert_eq!(json.matches('\n').count(), 1, "{json}");
    }

    #[test]
    fn hostile_text_stays_on_one_line_of_the_text_log() {
        let captured = CapturedLog::default();
        let writer = captured.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let log = log.fmt_fields(debug_fn(write_field).delimited(" ")).finish();
        tracing::subscriber::with_default(log, log_hostile_texts);
        let text = captured.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("eve\\u{1b}[2J") && text.contains(" link=7"), "{text}");
        assert!(
            text.contains(" reason=\"eve"),
            "texts of other users are quoted, so they cannot forge a field: {text}"
        );
    }

    #[test]
    fn hostile_text_stays_on_one_line_of_the_json_log_and_round_trips() {
        let captured = CapturedLog::default();
        let writer = captured.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true);
        let log = log.with_writer(move || SanitizedJson(writer.clone())).finish();
        tracing::subscriber::with_default(log, log_hostile_texts);
        let text = captured.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((event["peer"].as_str(), event["reason"].as_str()), (Some(HOSTILE), Some(HOSTILE)));
        assert_eq!((event["link"].as_u64(), event["level"].as_str()), (Some(7), Some("INFO")));
    }
}
