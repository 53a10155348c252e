//! Compares tables of the pages for users with the code: routes, error codes, limits, settings and
//! exit codes.

use std::collections::BTreeSet;
use std::fmt::Debug;

use rollcall::config::Setting;

use super::pages::{self, code, page};

/// Compares the rows of a page with those of the code. The error lists the rows that only one side
/// has.
fn assert_same<Row: Clone + Debug + Ord>(what: &str, on_the_page: &[Row], in_the_code: &[Row]) {
    let page: BTreeSet<Row> = on_the_page.iter().cloned().collect();
    let code: BTreeSet<Row> = in_the_code.iter().cloned().collect();
    assert_eq!(page.len(), on_the_page.len(), "{what}: a row is on the page twice: {on_the_page:?}");
    assert!(!code.is_empty(), "{what}: the code lists no rows");
    let missing: Vec<_> = code.difference(&page).collect();
    let unknown: Vec<_> = page.difference(&code).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{what}: the page lacks {missing:#?}, and has rows that the code lacks: {unknown:#?}"
    );
}

#[test]
fn the_table_of_routes_agrees_with_the_code() {
    let api = page("docs/api.md");
    let page: Vec<_> = api
        .table("## Routes")
        .iter()
        .map(|row| {
            let (method, path) = code(row[0]).split_once(' ').expect("a method and a path");
            (method.to_owned(), path.to_owned(), row[1] == "yes")
        })
        .collect();
    let code: Vec<_> = rollcall::http::ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned(), route.access.is_leader_only()))
        .collect();
    assert_same("routes", &page, &code);
}

#[test]
fn the_table_of_error_codes_agrees_with_the_code() {
    let api = page("docs/api.md");
    let mut page = Vec::new();
    for row in api.table("## Error codes") {
        for status in row[1].split(", ") {
            page.push((code(row[0]).to_owned(), status.parse::<u16>().expect("a status")));
        }
    }
    let code: Vec<_> =
        rollcall::http::ERROR_CODES.iter().map(|error| (error.code.to_owned(), error.status.as_u16())).collect();
    assert_same("error codes", &page, &code);
}

#[test]
fn the_table_of_limits_agrees_with_the_code() {
    let api = page("docs/api.md");
    let rows = api.table("## Limits");
    let page: Vec<_> = rows
        .iter()
        .filter(|row| row[0].starts_with('`'))
        .map(|row| (code(row[0]).to_owned(), row[1].to_owned()))
        .collect();
    let code: Vec<_> =
        rollcall::http::limits::LIMITS.iter().map(|limit| (limit.name.to_owned(), limit.to_string())).collect();
    assert_same("limits", &page, &code);
}

/// Checks that the table below a heading lists these settings. If a setting has no fixed default,
/// its cell may have any text.
fn assert_settings(heading: &str, settings: &[&Setting]) {
    let configuration = page("docs/configuration.md");
    let page: Vec<_> = configuration
        .table(heading)
        .iter()
        .map(|row| {
            let key = code(row[0]).to_owned();
            let fixed = settings.iter().find(|setting| setting.key == key).and_then(|setting| setting.default);
            (key, code(row[1]).to_owned(), fixed.map(|_| code(row[2]).to_owned()))
        })
        .collect();
    let code: Vec<_> = settings
        .iter()
        .map(|setting| (setting.key.to_owned(), setting.env.to_owned(), setting.default.map(str::to_owned)))
        .collect();
    assert_same(heading, &page, &code);
}

#[test]
fn the_tables_of_settings_agree_with_the_code() {
    assert_settings("## Node settings", &rollcall::config::NODE_SETTINGS);
    assert_settings("## Chat peer settings", &rollcall::config::chat::SETTINGS);
}

/// Checks that the first column of the table below a heading has these variables.
fn assert_variables(heading: &str, variables: &[&str]) {
    let storage = page("docs/storage.md");
    let text =
        storage.text.split(heading).nth(1).and_then(|rest| rest.split("\n#").next()).expect("the heading exists");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let page: Vec<_> = cells.flat_map(|cell| cell.split(", ")).map(|name| code(name).to_owned()).collect();
    assert_same(heading, &page, &variables.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
}

#[test]
fn the_tables_of_credentials_agree_with_the_code() {
    assert_variables("### Credentials of S3", &rollcall::config::AWS_CREDENTIALS);
    assert_variables("### Credentials of Azure", &rollcall::config::AZURE_CREDENTIALS);
}

#[test]
fn clusters_of_tests_inherit_no_setting() {
    let credentials = rollcall::config::AWS_CREDENTIALS.into_iter().chain(rollcall::config::AZURE_CREDENTIALS);
    for name in rollcall::config::env_vars().chain(credentials) {
        assert!(crate::cluster::is_foreign_variable(name), "{name}");
    }
}

#[test]
fn the_table_of_exit_codes_agrees_with_the_code() {
    let cli = page("docs/cli.md");
    let page: Vec<_> = cli
        .table("## Exit codes")
        .iter()
        .map(|row| (row[0].parse::<u8>().expect("a number"), row[1].to_owned()))
        .collect();
    let code: Vec<_> =
        rollcall::cli::exit::CODES.iter().map(|(code, meaning)| (*code, (*meaning).to_owned())).collect();
    assert_same("exit codes", &page, &code);
}

/// The names of metrics that follow a quote or a backtick in a text.
fn metrics(text: &str, quote: char) -> BTreeSet<&str> {
    let is_metric = |word: &&str| word.starts_with("rollcall_peer_") || word.starts_with("process_");
    let words = text.split(quote).filter(is_metric);
    words.map(|word| word.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or(word)).collect()
}

#[test]
fn the_table_of_metrics_agrees_with_the_code() {
    let path = pages::root().join("crates/chat/src/metrics/families.rs");
    let code = std::fs::read_to_string(path).expect("the metrics are here");
    let chat = page("docs/chat.md");
    let table = chat.table("## Health and metrics").into_iter().map(|row| row[0]).collect::<Vec<_>>().join(" ");
    let (code, page) = (metrics(&code, '"'), metrics(&table, '`'));
    assert!(code.len() > 20, "the metrics were not found");
    assert_eq!(page, code);
}
