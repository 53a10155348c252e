//! Links between pages: the file exists, and so does the heading.

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
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let (mut links, mut wrong) = (0, Vec::new());
    for from in pages() {
        let folder = Path::new(&from.path).parent().expect("a file is in a folder");
        for (number, line) in from.prose() {
            for target in targets(line).filter(|target| !target.contains("://")) {
                links += 1;
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let to = if file.is_empty() { PathBuf::from(&from.path) } else { normal(&folder.join(file)) };
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
fn anchors_are_made_as_pages_show_them() {
    assert_eq!(anchor("## Error codes"), "error-codes");
    assert_eq!(anchor("### Hello: who (and why) is let in"), "hello-who-and-why-is-let-in");
}
