//! Source files of all crates of the workspace, with their module paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crate of the workspace.
#[derive(Debug)]
pub(super) struct Crate {
    /// Name in the code of other crates: `rollcall_core`.
    pub(super) name: &'static str,
    /// All source files except test files.
    pub(super) files: Vec<Source>,
    /// Files of unit tests: path below the source folder, and text.
    pub(super) test_files: Vec<(String, String)>,
}

/// Source file.
#[derive(Debug)]
pub(super) struct Source {
    /// Path relative to the folder `src` of its crate, such as `engine/links.rs`.
    pub(super) path: String,
    /// Module path from the root of the crate; empty for the root itself.
    pub(super) module: Vec<String>,
    pub(super) text: String,
}

/// Crates, with their source folders below the root of the workspace.
const CRATES: &[(&str, &str)] = &[
    ("rollcall", "src"),
    ("rollcall_core", "crates/core/src"),
    ("rollcall_election", "crates/election/src"),
    ("rollcall_client", "crates/client/src"),
    ("rollcall_chat", "crates/chat/src"),
];

/// Reads all crates.
pub(super) fn crates() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let members = fs::read_dir(root.join("crates")).expect("the crates are here").count();
    assert_eq!(members + 1, CRATES.len(), "a crate is missing in CRATES");
    CRATES.iter().map(|(name, folder)| read(name, &root.join(folder))).collect()
}

impl Crate {
    /// Files by module path.
    pub(super) fn by_module(&self) -> BTreeMap<&[String], &Source> {
        self.files.iter().map(|file| (file.module.as_slice(), file)).collect()
    }

    /// Whether a folder `tests` with more test files stands beside `tests.rs` in this folder.
    pub(super) fn test_folder_has_more(&self, folder: &str) -> bool {
        let below = format!("{folder}tests/");
        self.test_files.iter().any(|(path, _)| path.starts_with(&below))
    }
}

impl Source {
    /// Number of lines of the inline tests.
    pub(super) fn test_lines(&self) -> usize {
        self.tests_start().map_or(0, |start| self.text[start..].lines().count())
    }

    /// Start of the inline tests, which are the last item, with any visibility.
    fn tests_start(&self) -> Option<usize> {
        ["\nmod tests {", "\npub(super) mod tests {", "\npub(crate) mod tests {"]
            .iter()
            .find_map(|start| self.text.find(&format!("#[cfg(test)]{start}")))
    }

    /// Code of the file without comments and without inline tests.
    pub(super) fn code(&self) -> String {
        let before_tests = self.tests_start().map_or(self.text.as_str(), |start| &self.text[..start]);
        let lines = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn read(name: &'static str, folder: &Path) -> Crate {
    let mut paths = Vec::new();
    walk(folder, &mut paths);
    paths.sort();
    let (mut files, mut test_files) = (Vec::new(), Vec::new());
    for path in paths {
        let relative = path.strip_prefix(folder).expect("below the folder").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("readable");
        if is_test(&relative) {
            test_files.push((relative, text));
        } else {
            files.push(Source { module: module(&relative), text, path: relative });
        }
    }
    Crate { name, files, test_files }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are here") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|name| ["tests", "tests.rs", "testing", "testing.rs"].contains(&name))
}

fn module(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").expect("a source");
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}
