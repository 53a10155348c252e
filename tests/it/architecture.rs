//! Reads the sources and holds them against ARCHITECTURE.md: imports point down, and what is pure stays pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each part of the program and the parts that it may name. What is not listed here may not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("api", &["domain"]),
    ("config", &["domain"]),
    ("storage", &["domain", "clock"]),
    ("presence", &["domain"]),
    ("election", &["domain", "clock"]),
    ("registry", &["domain", "presence", "storage"]),
    ("replication", &["domain", "clock", "election", "registry"]),
    ("snapshot", &["domain", "clock", "registry"]),
    ("http", &["domain", "clock", "api", "registry", "election"]),
    ("client", &["domain", "api"]),
    ("peer", &["domain", "clock", "client"]),
    ("node", &["domain", "clock", "config", "storage", "registry", "replication", "snapshot", "election", "http"]),
    ("commands", &["domain", "clock", "config", "client", "node", "peer", "api"]),
    ("main", &["commands"]),
    ("bin", &["domain", "config", "storage", "commands"]),
];

/// Files that decide and therefore must not touch the world: no sockets, files, threads, clocks or randomness.
const PURE: &[&str] = &[
    "domain/",
    "api.rs",
    "election/machine",
    "election/message.rs",
    "election/frame.rs",
    "election/proof.rs",
    "election/identities.rs",
    "election/complaints.rs",
    "election/narrator.rs",
    "election/process.rs",
    "election/members.rs",
    "election/role.rs",
    "peer/endpoint.rs",
    "peer/engine/",
    "peer/lan/datagram.rs",
    "peer/lan/fields.rs",
    "peer/lan/findings.rs",
    "peer/lan/seen.rs",
    "peer/mesh/greeting.rs",
    "peer/mesh/message.rs",
    "peer/mesh/simple_chat.rs",
    "peer/mesh/splitter.rs",
    "peer/metrics/health.rs",
    "peer/metrics/measures.rs",
    "peer/metrics/page.rs",
    "peer/metrics/table.rs",
    "peer/nickname.rs",
    "peer/peer_id.rs",
    "peer/profile.rs",
    "peer/screen/",
    "peer/text.rs",
    "peer/user_id.rs",
    "presence/",
    "registry/guard.rs",
    "registry/guesses.rs",
    "registry/token.rs",
    "replication/journal.rs",
    "replication/leading.rs",
    "replication/message.rs",
    "replication/pulling.rs",
    "replication/replica.rs",
    "snapshot/format.rs",
    "storage/key.rs",
    "client/answer.rs",
    "client/beats.rs",
    "client/pauses.rs",
    "client/roster.rs",
    "client/server.rs",
    "commands/plain.rs",
    "commands/table.rs",
];

/// What touches the world.
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::io",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "crate::clock",
    "rand::rng",
    "Instant::now",
];

fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("the sources are here") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
            (name, fs::read_to_string(&path).expect("readable"))
        })
        .collect()
}

/// The part of the program that a file belongs to: its top folder, or its name.
fn part(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// The file without its tests, which may use whatever they need, and without comments.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("/testing.rs") || file.contains("/tests/")
}

/// The parts that a text names: `crate::x` or, in the binaries, `rollcall::x`; groups included.
fn named(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for prefix in ["crate::", "rollcall::"] {
        for rest in text.split(prefix).skip(1) {
            let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            let names = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
            for name in names {
                let word: String = name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                parts.push(word);
            }
        }
    }
    parts
}

#[test]
fn imports_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let from = part(&file);
        if from == "lib" || is_test(&file) {
            continue;
        }
        let Some(may) = allowed.get(from) else {
            wrong.push(format!("{file}: the part `{from}` is not on the map"));
            continue;
        };
        for to in named(&code(&text)) {
            if to != from && allowed.contains_key(to.as_str()) && !may.contains(&to.as_str()) {
                wrong.push(format!("{file} names {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn what_decides_does_not_touch_the_world() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if is_test(&file) || !PURE.iter().any(|pure| file.starts_with(pure)) {
            continue;
        }
        let code = code(&text);
        wrong.extend(IMPURE_WORDS.iter().filter(|word| code.contains(*word)).map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_file_knows_a_path_in_the_bucket() {
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test(file)) {
        let code = code(&text);
        let knows = code.contains("\"users/")
            || code.contains("profile.json\"")
            || code.contains("\"cluster.json")
            || code.contains("\"secrets/");
        assert!(!knows || file == "storage/key.rs", "{file} spells a path in the bucket");
    }
}

#[test]
fn no_file_is_a_drawer_for_everything() {
    for (file, _) in sources() {
        for name in ["util", "common", "helper", "misc"] {
            assert!(!file.contains(name), "{file}: name it for what it is");
        }
    }
}

#[test]
fn the_program_starts_in_few_lines() {
    let (_, main) = sources().into_iter().find(|(file, _)| file == "main.rs").expect("there is a main");
    assert!(main.lines().count() < 50);
}
