//! The sources of every crate of the workspace: the files, and the tree of modules that they form.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the workspace.
#[derive(Debug)]
pub(super) struct Crate {
    /// As other crates name it: `rollcall_core`.
    pub(super) name: &'static str,
    /// From its root file down, without files of tests.
    pub(super) files: Vec<Source>,
    /// Files of unit tests: the path below the folder of sources, and the text.
    pub(super) test_files: Vec<(String, String)>,
}

/// A source file.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the folder `src` of its crate: `engine/links.rs`.
    pub(super) path: String,
    /// The names of its modules from the root of the crate down; empty for the root itself.
    pub(super) module: Vec<String>,
    pub(super) text: String,
}

/// The crates and their folders below the root of the workspace.
const CRATES: &[(&str, &str)] = &[
    ("rollcall", "src"),
    ("rollcall_core", "crates/core/src"),
    ("rollcall_election", "crates/election/src"),
    ("rollcall_client", "crates/client/src"),
    ("rollcall_chat", "crates/chat/src"),
];

/// All crates, without their test modules.
pub(super) fn crates() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let members = fs::read_dir(root.join("crates")).expect("the crates are here").count();
    assert_eq!(members + 1, CRATES.len(), "a crate is missing here");
    CRATES.iter().map(|(name, folder)| read(name, &root.join(folder))).collect()
}

impl Crate {
    /// The files by the path of their module.
    pub(super) fn by_module(&self) -> BTreeMap<&[String], &Source> {
        self.files.iter().map(|file| (file.module.as_slice(), file)).collect()
    }

    /// Whether a folder `tests` with more files stands beside `tests.rs` in this folder.
    pub(super) fn test_folder_has_more(&self, folder: &str) -> bool {
        let below = format!("{folder}tests/");
        self.test_files.iter().any(|(path, _)| path.starts_with(&below))
    }
}

impl Source {
    /// The lines of its inline tests.
    pub(super) fn test_lines(&self) -> usize {
        self.tests_start().map_or(0, |start| self.text[start..].lines().count())
    }

    /// Where its inline tests start; they are the last item, whoever may see them.
    fn tests_start(&self) -> Option<usize> {
        ["\nmod tests {", "\npub(super) mod tests {", "\npub(crate) mod tests {"]
            .iter()
            .find_map(|start| self.text.find(&format!("#[cfg(test)]{start}")))
    }

    /// The file without comments and without its inline tests.
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
