//! Output files of processes.

use std::path::Path;

/// Lines of a log that are printed for a failed test.
const SHOWN_LINES: usize = 60;

/// The whole text of a log file. Empty if the process was never started.
pub(super) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Prints the last lines of a log file, below `title`.
pub(super) fn print_tail(title: &str, path: &Path) {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    println!("--- {title}");
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        println!("{line}");
    }
}
