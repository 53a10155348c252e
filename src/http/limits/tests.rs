use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

use super::*;

/// Constants in other files that are not limits: file, name and reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("json.rs", "RESPONSE_BUFFER_BYTES", "initial size of a buffer"),
    ("routes/presence.rs", "ACCEPTED_BUFFER_BYTES", "initial size of a buffer"),
    ("lists/etag.rs", "TAG_HASH_BYTES", "length of a format"),
];

/// Constants that may be limits, and durations with literal numbers.
#[derive(Default)]
struct NumericConstants {
    constants: Vec<String>,
    durations: Vec<String>,
}

impl NumericConstants {
    fn of(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("readable");
        let mut found_numbers = Self::default();
        found_numbers.visit_file(&syn::parse_file(&text).expect("valid Rust"));
        found_numbers
    }

    fn add(&mut self, name: &syn::Ident, kind: &syn::Type) {
        let syn::Type::Path(path) = kind else { return };
        let kind = path.path.segments.last().expect("a type has a name").ident.to_string();
        if ["usize", "u8", "u16", "u32", "u64", "u128", "Duration"].contains(&kind.as_str()) {
            self.constants.push(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for NumericConstants {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.ident, &item.ty);
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.add(&item.ident, &item.ty);
        visit::visit_impl_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.add(&item.ident, &item.ty);
        visit::visit_item_static(self, item);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let [.., kind, function] = &function.path.segments.iter().collect::<Vec<_>>()[..]
            && kind.ident == "Duration"
            && let Some(syn::Expr::Lit(_)) = call.args.first()
        {
            self.durations.push(format!("Duration::{}", function.ident));
        }
        visit::visit_expr_call(self, call);
    }
}

/// Adds the source files of the API with their paths, except `limits.rs` and tests.
fn sources(folder: &Path, below: &str, found: &mut Vec<(String, NumericConstants)>) {
    for entry in fs::read_dir(folder).expect("the sources are here") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("ASCII");
        let path = format!("{below}{name}");
        if entry.path().is_dir() {
            sources(&entry.path(), &format!("{path}/"), found);
        } else if !["tests.rs", "testing.rs", "limits.rs"].contains(&name.as_str()) {
            found.push((path, NumericConstants::of(&entry.path())));
        }
    }
}

/// Appends the text of all source files of the API except `limits.rs` and its tests.
fn read_sources(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("the sources are here") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            read_sources(&path, code);
        } else if !path.ends_with("limits.rs") && !path.ends_with("limits/tests.rs") {
            code.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
}

#[test]
fn every_limit_of_the_api_is_defined_in_limits_rs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut files = Vec::new();
    sources(&folder, "", &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut used_exceptions = BTreeSet::<&(&str, &str, &str)>::new();
    for (path, found_numbers) in &files {
        for constant in &found_numbers.constants {
            let exception =
                EXCEPTIONS.iter().find(|(file, name, _)| (file, name) == (&path.as_str(), &constant.as_str()));
            assert!(exception.is_some(), "{path}: move {constant} to limits.rs");
            used_exceptions.extend(exception);
        }
        assert!(found_numbers.durations.is_empty(), "{path}: give {:?} a name in limits.rs", found_numbers.durations);
    }
    assert_eq!(used_exceptions.len(), EXCEPTIONS.len(), "an exception does not exist any more: {EXCEPTIONS:?}");
}

#[test]
fn every_limit_has_a_reason_and_is_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut code = String::new();
    read_sources(&folder, &mut code);
    for limit in LIMITS {
        assert!(limit.reason.ends_with('.') && !limit.beyond.is_empty(), "{limit:?}");
        assert!(code.contains(limit.name), "{} is not used", limit.name);
    }
}

#[test]
fn a_limit_is_shown_in_the_largest_unit_that_gives_a_whole_number() {
    let shown = |name| LIMITS.iter().find(|limit| limit.name == name).expect("a limit").to_string();
    for (name, expected) in [
        ("RESERVED_FILES", "512"),
        ("MAX_JSON_BYTES", "64 KiB"),
        ("MAX_REQUEST_ID_BYTES", "64 bytes"),
        ("MAX_UPLOAD_MEMORY_KIB", "64 MiB"),
        ("MAX_LIST_WAIT", "500 ms"),
        ("REQUEST_TIMEOUT", "30 s"),
        ("MAX_RESPONSE_TIME", "2 min"),
        ("REBUILD_REFILL_MS", "100 ms"),
    ] {
        assert_eq!(shown(name), expected, "{name}");
    }
}
