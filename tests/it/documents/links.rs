//! Checks the links between pages: the linked file and the linked heading must exist.

use std::path::{Component, Path, PathBuf};

use super::pages::{page, pages, root};

/// The targets of the links of a line of Markdown.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The anchor of a heading: lower case, spaces as hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The path without `.` and `..`, since a link may leave its folder.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normalized.pop();
            }
            Component::CurDir => {}
            part => normalized.push(part),
        }
    }
    normalized
}

#[test]
fn every_link_between_pages_leads_to_an_existing_file_and_heading() {
    let (mut links, mut wrong) = (0, Vec::new());
    for from in pages() {
        let folder = Path::new(&from.path).parent().expect("a file is in a folder");
        for (number, line) in from.prose() {
            for target in targets(line).filter(|target| !target.contains("://")) {
                links += 1;
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let to = if file.is_empty() { PathBuf::from(&from.path) } else { normalized(&folder.join(file)) };
                let found = root().join(&to).exists()
                    && (heading.is_empty() || {
                        let to = page(&to.to_string_lossy());
                        to.prose().any(|(_, line)| line.starts_with('#') && anchor(line) == heading)
                    });
                if !found {
                    wrong.push(format!("{}:{number}: {target}", from.path));
                }
            }
        }
    }
    assert!(links > 40, "the links were not found");
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn an_anchor_is_its_heading_in_lower_case_with_hyphens() {
    assert_eq!(anchor("## Error codes"), "error-codes");
    assert_eq!(anchor("### Hello: who (and why) is let in"), "hello-who-and-why-is-let-in");
}
