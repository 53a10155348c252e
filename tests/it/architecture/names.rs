//! One type name, one concept: no name is defined twice in the product code of the workspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::sources::crates;

/// Names that several crates may define, each once.
const MAY_RECUR: &[&str] = &["Action", "Args", "Config", "Error", "Event"];

/// The types and traits that a file defines at its top level.
fn type_names(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("the sources compile");
    let names = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Struct(item) => Some(item.ident),
        syn::Item::Enum(item) => Some(item.ident),
        syn::Item::Trait(item) => Some(item.ident),
        syn::Item::Type(item) => Some(item.ident),
        _ => None,
    });
    names.map(|name| name.to_string()).collect()
}

#[test]
fn a_type_name_stands_for_one_concept() {
    let mut places: BTreeMap<String, Vec<(&str, String)>> = BTreeMap::new();
    for krate in crates() {
        for file in &krate.files {
            for name in type_names(&file.code()) {
                places.entry(name).or_default().push((krate.name, file.path.clone()));
            }
        }
    }
    assert!(places.len() > 300, "the types were not found");
    let mut wrong = String::new();
    for (name, files) in places {
        let mut crates: Vec<_> = files.iter().map(|(krate, _)| *krate).collect();
        crates.dedup();
        let may_recur = MAY_RECUR.contains(&name.as_str()) && crates.len() == files.len();
        if files.len() > 1 && !may_recur {
            let files: Vec<_> = files.iter().map(|(krate, path)| format!("{krate}/{path}")).collect();
            let _ = writeln!(wrong, "{name}: {}", files.join(", "));
        }
    }
    assert!(wrong.is_empty(), "type names that are defined more than once:\n{wrong}");
}
