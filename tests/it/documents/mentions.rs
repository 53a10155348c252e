//! Checks that the source files and tests that the pages name exist, so that a reader can find them
//! by search.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::pages::{page, pages, root};

/// Folders with sources.
const SOURCES: &[&str] = &["src", "crates", "tests", "benches", "examples", "tools", ".ci"];

/// Pages for engineers: in them a name such as `lists.rs` is a file of this repository.
fn is_for_engineers(path: &str) -> bool {
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md"].contains(&path) || path.starts_with("docs/design/")
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("readable").path();
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        if path.is_dir() {
            found.push(format!("{name}/"));
            walk(&path, found);
        } else {
            found.push(name);
        }
    }
}

/// All source files and their folders, relative to the root.
pub(super) fn files() -> Vec<String> {
    let mut found = Vec::new();
    for folder in SOURCES {
        found.push(format!("{folder}/"));
        walk(&root().join(folder), &mut found);
    }
    found
}

/// The texts between backticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a word names a source file or a folder of sources.
fn names_a_source(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || ['_', '-', '/', '.'].contains(&c));
    let from_root = SOURCES.iter().any(|folder| word.starts_with(&format!("{folder}/")));
    plain && (is_rust(word) || from_root && !word.contains(".."))
}

pub(super) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Functions by name, each with the files that define it.
fn functions() -> BTreeMap<String, Vec<String>> {
    let mut functions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files().into_iter().filter(|file| is_rust(file)) {
        let text = fs::read_to_string(root().join(&file)).expect("readable");
        for line in text.lines() {
            let Some((_, rest)) = line.split_once("fn ") else { continue };
            let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            functions.entry(name).or_default().push(file.clone());
        }
    }
    functions
}

/// Whether a word names a test: a path of modules, or a name of at least five words.
fn names_a_test(word: &str) -> bool {
    let is_path = word.contains("::") && word.rsplit("::").next().is_some_and(|name| name.contains('_'));
    let plain = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ['_', ':'].contains(&c));
    plain && (is_path || word.matches('_').count() >= 4)
}

/// Whether the file has these modules in its path.
fn is_in_modules(file: &str, modules: &[&str]) -> bool {
    let stem = file.trim_end_matches(".rs");
    modules.iter().all(|module| stem.split('/').any(|part| part == *module))
}

#[test]
fn every_file_that_a_page_for_engineers_names_exists() {
    let files = files();
    let exists = |word: &str| {
        let end = format!("/{}", word.trim_end_matches('/'));
        files.iter().any(|file| format!("/{}", file.trim_end_matches('/')).ends_with(&end))
    };
    let (mut named, mut wrong) = (0, Vec::new());
    for page in pages().into_iter().filter(|page| is_for_engineers(&page.path)) {
        for (number, line) in page.prose() {
            for word in code_spans(line).filter(|word| names_a_source(word)) {
                named += 1;
                if !exists(word) {
                    wrong.push(format!("{}:{number}: {word}", page.path));
                }
            }
        }
    }
    assert!(named > 50, "the names of files were not found");
    assert!(wrong.is_empty(), "there are no such files:\n{}", wrong.join("\n"));
}

/// A test is found by its full name, and in the module that the page says.
#[test]
fn every_test_that_a_page_names_exists() {
    let functions = functions();
    let (mut named, mut wrong) = (0, Vec::new());
    for path in ["tests/README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        for (number, line) in page(path).prose() {
            assert!(
                !code_spans(line).any(|word| word.contains('…')),
                "{path}:{number}: a shortened name cannot be searched"
            );
            for word in code_spans(line).filter(|word| names_a_test(word)) {
                let mut modules: Vec<&str> = word.split("::").collect();
                let name = modules.pop().expect("a word is not empty");
                named += 1;
                let is_module =
                    files().iter().any(|file| is_in_modules(file, &modules) && is_in_modules(file, &[name]));
                let found =
                    functions.get(name).is_some_and(|files| files.iter().any(|file| is_in_modules(file, &modules)));
                if !found && !is_module {
                    wrong.push(format!("{path}:{number}: {word}"));
                }
            }
        }
    }
    assert!(named > 60, "the names of tests were not found");
    assert!(wrong.is_empty(), "there are no such tests:\n{}", wrong.join("\n"));
}
