//! Comments end at column 100, in Rust, scripts and configuration files. Lines with a URL and rows
//! of tables may be longer.

use std::fs;
use std::path::{Path, PathBuf};

/// Last column of a comment.
const LAST_COLUMN: usize = 100;

/// Names of folders, at any depth, without sources of this project.
const SKIPPED: &[&str] = &["target", "data", "credentials", "online_clients"];

/// Comment marker of a file, by its name; `None` if the file is not checked.
fn comment_marker(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "rs" => Some("//"),
        "py" | "sh" | "toml" | "yml" | "yaml" => Some("#"),
        _ if ["Makefile", "Dockerfile"].contains(&name) || path.ends_with(".ci/run") => Some("#"),
        _ => None,
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the checkout is readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED.contains(&name) && (!name.starts_with('.') || name == ".ci") {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The comment of a line, if it has one, alone or after code. A marker in a string literal starts
/// no comment.
fn comment<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    if line.trim_start().starts_with(marker) {
        return Some(line.trim_start());
    }
    let (code, comment) = line.split_once(&format!(" {marker} "))?;
    let quotes = code.matches('"').count() - code.matches("\\\"").count();
    quotes.is_multiple_of(2).then_some(comment)
}

fn is_too_long(line: &str, marker: &str) -> bool {
    line.chars().count() > LAST_COLUMN
        && comment(line, marker).is_some_and(|comment| {
            let text = comment.trim_start_matches(['/', '!', '#', ' ']);
            !comment.contains("://") && !text.starts_with('|')
        })
}

#[test]
fn comments_end_at_column_100() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(root, &mut files);
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in files {
        let Some(marker) = comment_marker(&path) else { continue };
        checked += 1;
        let text = fs::read_to_string(&path).expect("a text file");
        for (index, line) in text.lines().enumerate().filter(|(_, line)| is_too_long(line, marker)) {
            let name = path.strip_prefix(root).expect("below the root").display();
            wrong.push(format!("{name}:{}: {} columns", index + 1, line.chars().count()));
        }
    }
    assert!(checked > 300, "the sources were not found");
    assert!(wrong.is_empty(), "comments past column {LAST_COLUMN}:\n{}", wrong.join("\n"));
}

#[test]
fn only_comments_must_end_at_column_100() {
    let long = "x".repeat(LAST_COLUMN);
    assert!(is_too_long(&format!("    // {long}"), "//"));
    assert!(is_too_long(&format!("/// {long}"), "//"));
    assert!(is_too_long(&format!("let a = \"{long}\"; // and why"), "//"));
    assert!(!is_too_long(&format!("// {}", &long[3..]), "//"));
    assert!(!is_too_long(&format!("let a = \" // {long}\";"), "//"));
    assert!(!is_too_long(&format!("/// | a | {long} |"), "//"));
    assert!(!is_too_long(&format!("// https://example.org/{long}"), "//"));
    assert!(is_too_long(&format!("# {long}"), "#"));
}
