//! The list of all pages, and the limits on the length of README and ARCHITECTURE.

use std::fs;
use std::path::{Path, PathBuf};

/// A page in Markdown.
#[derive(Debug)]
pub(super) struct Page {
    /// The path relative to the root of the repository.
    pub(super) path: String,
    pub(super) text: String,
}

/// Folders with pages, relative to the root; their subfolders are not read.
const FOLDERS: &[&str] = &[
    "",
    "docs",
    "docs/design",
    "tests",
    "crates/client",
    "crates/core",
    "crates/election",
    "crates/chat",
    "credentials",
];

/// Pages that README must link.
const FOR_READERS: &[&str] = &[
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/api.md",
    "docs/benchmarks.md",
    "docs/chat.md",
    "docs/cli.md",
    "docs/configuration.md",
    "docs/design/auth.md",
    "docs/design/chat.md",
    "docs/design/election.md",
    "docs/design/reads.md",
    "docs/design/replication.md",
    "docs/design/storage.md",
    "docs/operations.md",
    "docs/quickstart.md",
    "docs/security.md",
    "docs/storage.md",
];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One page.
pub(super) fn page(path: &str) -> Page {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path: path.to_owned(), text }
}

/// All pages.
pub(super) fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        paths.extend(entries.map(|entry| entry.expect("readable").path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let relative = |path: PathBuf| path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    paths.into_iter().map(|path| page(&relative(path))).collect()
}

impl Page {
    /// The lines outside of code blocks, with their numbers.
    pub(super) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut in_code = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
                return None;
            }
            (!in_code).then_some((index + 1, line))
        })
    }

    /// The rows of the table below a heading, each as its cells, without the header of the table.
    pub(super) fn table(&self, heading: &str) -> Vec<Vec<&str>> {
        let mut rows = self
            .prose()
            .map(|(_, line)| line)
            .skip_while(|line| *line != heading)
            .skip(1)
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
        assert!(rows.next().is_some(), "{}: there is no table below {heading:?}", self.path);
        rows.skip(1).collect()
    }
}

/// The only code span in the cell of a table.
pub(super) fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn readme_and_architecture_are_short() {
    for (path, most) in [("README.md", 150), ("ARCHITECTURE.md", 200)] {
        let lines = page(path).text.lines().count();
        assert!(lines <= most, "{path} has {lines} lines, but at most {most} are allowed");
    }
}

#[test]
fn readme_links_every_page() {
    let readme = page("README.md").text;
    let missing: Vec<_> = FOR_READERS.iter().filter(|path| !readme.contains(&format!("({path}"))).collect();
    assert!(missing.is_empty(), "README.md does not link {missing:?}");
    let unlisted: Vec<_> = pages()
        .into_iter()
        .filter(|page| page.path.starts_with("docs/") && !FOR_READERS.contains(&page.path.as_str()))
        .map(|page| page.path)
        .collect();
    assert!(
        unlisted.is_empty(),
        "pages that FOR_READERS lacks: {unlisted:?}; add them, so that README.md must link them"
    );
}
