//! Compares the tables of bounds with the constants in the source files and with the defaults of
//! the settings.
//!
//! The columns of such a table begin with: meaning, constant or setting, file, value. The file of a
//! setting is the word "setting".

use std::fs;

use rollcall::config::{NODE_SETTINGS, Setting, chat};

use super::mentions::{files, is_rust};
use super::pages::{code, page, root};

/// A table of bounds.
struct Table {
    page: &'static str,
    heading: &'static str,
    /// The folder of its files.
    folder: &'static str,
    settings: &'static [&'static Setting],
}

const LOGINS: Table = Table {
    page: "docs/security.md",
    heading: "## Limits against guessing",
    folder: "src/registry",
    settings: &NODE_SETTINGS,
};

const ELECTION_PORT: Table = Table {
    page: "docs/security.md",
    heading: "### Limits of the election port",
    folder: "crates/election/src",
    settings: &NODE_SETTINGS,
};

const REGISTRY: Table =
    Table { page: "docs/api.md", heading: "### Limits of the registry", folder: "src", settings: &NODE_SETTINGS };

const CHAT_MEMORY: Table = Table {
    page: "docs/design/chat.md",
    heading: "## Bounds of memory",
    folder: "crates/chat/src",
    settings: &chat::SETTINGS,
};

const CHAT_WORK: Table = Table { heading: "## Bounds of work", ..CHAT_MEMORY };

const TABLES: [Table; 5] = [LOGINS, ELECTION_PORT, REGISTRY, CHAT_MEMORY, CHAT_WORK];

/// The value of the constant in the source text, as an expression.
fn value<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    rest.split(['=', ';']).nth(1).map(str::trim)
}

/// The product of the numbers.
fn product(expression: &str) -> u64 {
    let factor = |factor: &str| factor.trim().replace('_', "").parse::<u64>();
    expression.split('*').map(|number| factor(number).expect("a product of numbers")).product()
}

/// The number in the largest unit in which it is whole. The units begin with the largest.
fn in_unit(number: u64, units: &[(u64, &str)]) -> String {
    let (size, unit) = units.iter().find(|(size, _)| number.is_multiple_of(*size)).expect("the last unit is 1");
    format!("{} {unit}", number / size)
}

fn milliseconds(ms: u64) -> String {
    in_unit(ms, &[(60_000, "min"), (1000, "s"), (1, "ms")])
}

/// The value of a constant as the page shows it. The name of the constant says its unit.
fn shown(name: &str, expression: &str) -> String {
    let argument = |call: &str| expression.strip_prefix(call).map(|rest| product(rest.trim_end_matches(')')));
    if let Some(seconds) = argument("Duration::from_secs(") {
        milliseconds(seconds * 1000)
    } else if let Some(ms) = argument("Duration::from_millis(") {
        milliseconds(ms)
    } else if let Some(rate) = expression.strip_prefix("Rate::new(") {
        let (burst, refill) = rate.trim_end_matches(')').split_once(", ").expect("a burst and a refill time");
        format!("{} then one every {}", product(burst), milliseconds(product(refill)))
    } else if name.ends_with("_MS") {
        milliseconds(product(expression))
    } else if name.contains("BYTES") {
        in_unit(product(expression), &[(1024 * 1024, "MiB"), (1024, "KiB"), (1, "bytes")])
    } else {
        product(expression).to_string()
    }
}

impl Table {
    /// The constants of the table: file and name.
    fn constants(&self) -> Vec<(String, String)> {
        let page = page(self.page);
        let rows = page.table(self.heading);
        let constants = rows.iter().filter(|row| row[2] != "setting");
        constants.map(|row| (format!("{}/{}", self.folder, code(row[2])), code(row[1]).to_owned())).collect()
    }

    /// The value in the code as the page shows it. `None` for a setting without a fixed default.
    fn expected(&self, name: &str, file: &str) -> Option<String> {
        if file == "setting" {
            let setting = self.settings.iter().find(|setting| setting.key == name);
            let default = setting.unwrap_or_else(|| panic!("{name} is no setting")).default?;
            return Some(shown(&name.to_uppercase(), default));
        }
        let path = root().join(self.folder).join(file);
        let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let value = value(&source, name).unwrap_or_else(|| panic!("{file} does not define {name}"));
        Some(shown(name, value))
    }
}

#[test]
fn each_bound_on_a_page_has_the_value_of_its_constant_or_setting_and_a_reason() {
    for table in TABLES {
        let page = page(table.page);
        for row in page.table(table.heading) {
            let (name, file) = (code(row[1]), code(row[2]));
            if let Some(expected) = table.expected(name, file) {
                assert_eq!(row[3].replace(',', ""), expected, "{}: {name}", table.heading);
            }
            assert!(row.last().is_some_and(|reason| !reason.is_empty()), "{name} has no reason");
        }
    }
}

#[test]
fn the_table_of_quotas_has_the_defaults_of_the_settings() {
    let security = page("docs/security.md");
    let rows = security.table("## Quotas");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let name = code(row[1]);
        let setting = NODE_SETTINGS.iter().find(|setting| setting.key == name);
        if let Some(default) = setting.unwrap_or_else(|| panic!("{name} is no setting")).default {
            assert_eq!(row[2].replace(',', ""), shown(&name.to_uppercase(), default), "{name}");
        }
        assert!(!row[4].is_empty(), "{name} has no reason");
    }
}

/// A new bound of the registry, of the fair pools or of the chat engine needs a row.
#[test]
fn each_bound_of_the_registry_and_of_the_chat_engine_is_on_a_page() {
    // Numbers of the JPEG format, a rule of a value, and the size of a message between nodes.
    const OTHERS: [&str; 3] = [
        "src/registry/images/image_check/jpeg.rs",
        "src/registry/images/image_check/rejection.rs",
        "src/registry/replicated_rows.rs",
    ];
    let on_a_page: Vec<_> = TABLES.iter().flat_map(Table::constants).collect();
    let (mut found, mut missing) = (0, Vec::new());
    for file in files() {
        let bounded = ["src/registry/", "src/fair_pool/"].iter().any(|folder| file.starts_with(folder))
            || file == "crates/chat/src/engine/limits.rs";
        if !bounded || !is_rust(&file) || OTHERS.contains(&file.as_str()) {
            continue;
        }
        let source = fs::read_to_string(root().join(&file)).expect("readable");
        let names = source.split("const MAX_").skip(1).filter_map(|rest| rest.split_once(": "));
        for (name, _) in names {
            found += 1;
            let constant = (file.clone(), format!("MAX_{name}"));
            if !on_a_page.contains(&constant) {
                missing.push(constant);
            }
        }
    }
    assert!(found > 30, "the bounds were not found");
    assert!(missing.is_empty(), "no page has the bounds {missing:#?}");
}

/// The rules of single values are sentences. Each names the numbers of its constants.
#[test]
fn the_table_of_values_has_the_numbers_of_the_code() {
    let numbers = [
        ("username", "crates/core/src/username.rs", "MAX_NEW_CHARS", "characters"),
        ("username", "crates/core/src/username.rs", "MAX_BYTES", "bytes"),
        ("password", "crates/core/src/password.rs", "MAX_PASSWORD_BYTES", ""),
        ("metadata", "crates/core/src/metadata.rs", "MAX_LEVELS", "levels"),
        ("metadata", "crates/core/src/metadata.rs", "MAX_NEW_BYTES", "bytes"),
        ("image", "src/registry/images/image_check/rejection.rs", "MAX_SIDE", "pixels"),
    ];
    let api = page("docs/api.md");
    let rows = api.table("## Values");
    for (what, file, name, unit) in numbers {
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let number = product(value(&source, name).unwrap_or_else(|| panic!("{file} does not define {name}")));
        let row = rows.iter().find(|row| row[0] == what).unwrap_or_else(|| panic!("there is no row for {what}"));
        let text = format!("{number} {unit}");
        assert!(row[1].contains(text.trim()), "{what}: {:?} lacks {text:?}", row[1]);
    }
}
