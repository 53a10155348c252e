//! Checks of the sources against ARCHITECTURE.md: imports point down and never form a cycle, and
//! pure modules stay pure.

mod comments;
mod imports;
mod names;
mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sources::{Crate, Source, crates};

/// Each part of the root package, with the parts and workspace crates that it may import.
///
/// A part that is not listed must not exist. Cargo checks the dependencies between crates.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("config", &["rollcall_core", "rollcall_chat", "storage"]),
    ("storage", &["rollcall_core"]),
    ("presence", &["rollcall_core"]),
    ("fair_pool", &["rollcall_core"]),
    ("registry", &["rollcall_core", "fair_pool", "presence", "storage"]),
    ("replication", &["rollcall_core", "rollcall_election", "registry"]),
    ("snapshot", &["rollcall_core", "registry"]),
    ("http", &["rollcall_core", "rollcall_election", "fair_pool", "registry"]),
    (
        "node",
        &["rollcall_core", "rollcall_election", "config", "storage", "registry", "replication", "snapshot", "http"],
    ),
    ("cli", &["rollcall_core", "rollcall_client", "rollcall_chat", "config", "storage", "node"]),
    ("main", &["cli"]),
    ("bin", &["rollcall_core", "config", "storage", "cli"]),
];

/// Workspace crates that a crate may depend on.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("election", &["rollcall-core"]),
    ("client", &["rollcall-core"]),
    ("chat", &["rollcall-core", "rollcall-client"]),
];

/// Pure files: they make decisions, and use no sockets, files, threads, clocks or random numbers.
/// Each entry is the beginning of a path, so one entry can cover a folder.
///
/// The whole crate `rollcall_core` is pure too, except for its clock and its private files.
const PURE: &[&str] = &[
    "rollcall/cli/text_table.rs",
    "rollcall/config/chat/",
    "rollcall/config/setting.rs",
    "rollcall/config/layers.rs",
    "rollcall/config/node/",
    "rollcall/config/toml_file.rs",
    "rollcall/config/yaml_file.rs",
    "rollcall/fair_pool/ledger.rs",
    "rollcall/fair_pool/waiting_line.rs",
    "rollcall/http/header_parameter.rs",
    "rollcall/http/origin_policy",
    "rollcall/http/tls/certificate_warnings.rs",
    "rollcall/node/node_key_ring.rs",
    "rollcall/presence/",
    "rollcall/registry/address_buckets.rs",
    "rollcall/registry/auth/credential_state.rs",
    "rollcall/registry/auth/credentials.rs",
    "rollcall/registry/auth/login_throttle.rs",
    "rollcall/registry/auth/token_signer.rs",
    "rollcall/registry/auth/wrong_password_log.rs",
    "rollcall/registry/coverage.rs",
    "rollcall/registry/images/image_cache.rs",
    "rollcall/registry/images/listing_cache.rs",
    "rollcall/registry/images/lru_cache.rs",
    "rollcall/registry/quotas.rs",
    "rollcall/registry/replicated_rows",
    "rollcall/registry/users/negative_cache.rs",
    "rollcall/registry/users/replication_queue.rs",
    "rollcall/registry/users/user_details.rs",
    "rollcall/registry/users/user_index.rs",
    "rollcall/replication/follower.rs",
    "rollcall/replication/freshness.rs",
    "rollcall/replication/batch_log.rs",
    "rollcall/replication/bounds.rs",
    "rollcall/replication/leader.rs",
    "rollcall/replication/message.rs",
    "rollcall/replication/catch_up.rs",
    "rollcall/replication/replica.rs",
    "rollcall/replication/sent_batches.rs",
    "rollcall/replication/local_tables.rs",
    "rollcall/replication/takeover.rs",
    "rollcall/snapshot/format.rs",
    "rollcall/storage/bucket_check/explanation.rs",
    "rollcall/storage/bucket_error.rs",
    "rollcall/storage/circuit_breaker.rs",
    "rollcall/storage/drive/config.rs",
    "rollcall/storage/drive/drive_failure.rs",
    "rollcall/storage/drive/drive_file.rs",
    "rollcall/storage/drive/key_digest.rs",
    "rollcall/storage/drive/legacy_profiles.rs",
    "rollcall/storage/drive/slot_table.rs",
    "rollcall/storage/error_text.rs",
    "rollcall/storage/gcs/request_failure.rs",
    "rollcall/storage/google/refusal.rs",
    "rollcall/storage/google/upload_body.rs",
    "rollcall/storage/key.rs",
    "rollcall/storage/object_store/azure_names.rs",
    "rollcall/storage/object_store/config.rs",
    "rollcall/storage/object_store/http_failure.rs",
    "rollcall/storage/object_store/listing.rs",
    "rollcall/storage/object_store/remedies.rs",
    "rollcall/storage/object_store/secrets.rs",
    "rollcall/storage/retry_policy.rs",
    "rollcall/storage/seal.rs",
    "rollcall_chat/console/",
    "rollcall_chat/endpoint.rs",
    "rollcall_chat/engine/",
    "rollcall_chat/lan/datagram.rs",
    "rollcall_chat/lan/fields.rs",
    "rollcall_chat/lan/findings.rs",
    "rollcall_chat/lan/scan_result.rs",
    "rollcall_chat/lan_user_id.rs",
    "rollcall_chat/mesh/chat_fast_path.rs",
    "rollcall_chat/mesh/framer.rs",
    "rollcall_chat/mesh/greeting.rs",
    "rollcall_chat/mesh/message.rs",
    "rollcall_chat/mesh/timestamp.rs",
    "rollcall_chat/metrics/exposition.rs",
    "rollcall_chat/metrics/families.rs",
    "rollcall_chat/metrics/health.rs",
    "rollcall_chat/metrics/stats.rs",
    "rollcall_chat/nickname.rs",
    "rollcall_chat/peer_id.rs",
    "rollcall_chat/profile.rs",
    "rollcall_chat/text.rs",
    "rollcall_client/backoff.rs",
    "rollcall_client/heartbeat_schedule.rs",
    "rollcall_client/new_user.rs",
    "rollcall_client/online_set.rs",
    "rollcall_client/response_kind.rs",
    "rollcall_client/server_url.rs",
    "rollcall_election/machine",
    "rollcall_election/members.rs",
    "rollcall_election/event_log.rs",
    "rollcall_election/process.rs",
    "rollcall_election/role.rs",
    "rollcall_election/transport/log_throttle.rs",
    "rollcall_election/transport/identities.rs",
    "rollcall_election/wire",
];

/// Words in code that uses I/O, threads, a clock or random numbers.
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::io",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "rollcall_core::clock",
    "crate::clock",
    "rand::rng",
    "Instant::now",
];

/// Name of a file in these lists: the crate, and the path below its source folder.
fn display_path(krate: &Crate, file: &Source) -> String {
    format!("{}/{}", krate.name, file.path)
}

/// Part of the program that contains a file: its top folder, or its own name.
fn part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// Parts that a source text names: `crate::x`, `rollcall::x` in binaries, both with a group
/// (`crate::{x, y}`) too, and workspace crates.
fn imported_parts(text: &str) -> Vec<String> {
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
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.extend(words.filter(|word| word.starts_with("rollcall_")).map(str::to_owned));
    parts
}

#[test]
fn parts_import_only_the_parts_that_the_map_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let all = crates();
    let is_known = |name: &str| allowed.contains_key(name) || all.iter().any(|krate| krate.name == name);
    let mut wrong = Vec::new();
    for file in &all[0].files {
        let from = part(&file.path);
        if from == "lib" {
            continue;
        }
        let Some(may) = allowed.get(from) else {
            wrong.push(format!("{}: the part `{from}` is not in MAY_IMPORT", file.path));
            continue;
        };
        for to in imported_parts(&file.code()) {
            if to != from && to != "rollcall" && is_known(&to) && !may.contains(&to.as_str()) {
                wrong.push(format!("{} imports {to}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that are not allowed:\n{}", wrong.join("\n"));
}

#[test]
fn crates_depend_only_on_the_crates_that_the_map_allows() {
    for (name, may) in MAY_DEPEND {
        let path = format!("{}/crates/{name}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest: toml::Table = std::fs::read_to_string(path).expect("readable").parse().expect("a manifest");
        let dependencies = manifest["dependencies"].as_table().expect("a table");
        let found: Vec<_> = dependencies.keys().filter(|name| name.starts_with("rollcall")).collect();
        assert!(found.iter().all(|found| may.contains(&found.as_str())), "{name} depends on {found:?}");
    }
}

#[test]
fn the_election_crate_has_no_dependency_on_http_or_storage_libraries() {
    let path = format!("{}/crates/election/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(path).expect("readable").parse().expect("a manifest");
    for section in ["dependencies", "dev-dependencies"] {
        let names = manifest[section].as_table().expect("a table").keys();
        let wrong: Vec<_> = names
            .filter(|name| ["axum", "google", "hyper", "reqwest"].iter().any(|word| name.starts_with(word)))
            .collect();
        assert!(wrong.is_empty(), "{section}: {wrong:?}");
    }
}

#[test]
fn imports_between_files_form_no_cycle() {
    let mut wrong = String::new();
    for krate in crates() {
        let (edges, violations) = imports::imports(&krate);
        assert!(edges.len() > 3, "{}: its imports were not found", krate.name);
        for line in violations {
            let _ = writeln!(wrong, "{line}");
        }
        for cycle in imports::cycles(&edges) {
            let _ = writeln!(wrong, "{}: a cycle of {} files:", krate.name, cycle.len());
            for from in &cycle {
                for (to, names) in edges[*from].iter().filter(|(to, _)| cycle.contains(&to.as_str())) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let _ = writeln!(wrong, "    {from} -> {to}: {}", names.join(", "));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn pure_files_use_no_io_clock_or_randomness() {
    let mut wrong = Vec::new();
    let (mut used, mut found) = (std::collections::BTreeSet::<&&str>::new(), 0);
    for krate in crates() {
        for file in &krate.files {
            let path = display_path(&krate, file);
            let entry = PURE.iter().find(|pure| path.starts_with(*pure));
            used.extend(entry);
            let is_core =
                krate.name == "rollcall_core" && !["clock.rs", "private_files.rs"].contains(&file.path.as_str());
            if entry.is_none() && !is_core {
                continue;
            }
            found += 1;
            let code = file.code();
            wrong.extend(IMPURE_WORDS.iter().filter(|word| code.contains(*word)).map(|word| format!("{path}: {word}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found > PURE.len());
    let unused: Vec<_> = PURE.iter().filter(|entry| !used.contains(*entry)).collect();
    assert!(unused.is_empty(), "entries of PURE without a file: {unused:?}");
}

#[test]
fn only_one_file_contains_paths_of_the_bucket() {
    for krate in crates() {
        for file in &krate.files {
            let code = file.code();
            let has_path = code.contains("\"users/")
                || code.contains("profile.json\"")
                || code.contains("\"cluster.json")
                || code.contains("\"secrets/");
            let path = display_path(&krate, file);
            assert!(!has_path || path == "rollcall/storage/key.rs", "{path} contains a path of the bucket");
        }
    }
}

/// Files that create files and directories with the permissions of the umask: pictures, completions
/// and man pages are the user's own.
const MAY_CREATE_PUBLIC_FILES: &[&str] =
    &["rollcall/cli/completions.rs", "rollcall/cli/download/target_dir.rs", "rollcall_core/private_files.rs"];

/// Code that creates a file or a directory with the permissions of the umask.
fn creates_public_file(code: &str) -> bool {
    let is_creating = |opened: &str| {
        opened.split("open(").next().is_some_and(|chain| chain.contains(".create(") || chain.contains(".create_new("))
    };
    let by_options = ["OpenOptions::new()", "File::options()"];
    by_options.iter().any(|options| code.split(options).skip(1).any(is_creating))
        || ["fs::write(", "File::create", "fs::create_dir", "DirBuilder"].iter().any(|word| code.contains(word))
}

#[test]
fn files_for_the_owner_alone_are_created_by_one_helper() {
    let mut found = Vec::new();
    for krate in crates() {
        for file in krate.files.iter().filter(|file| creates_public_file(&file.code())) {
            found.push(display_path(&krate, file));
        }
    }
    found.sort();
    assert_eq!(found, MAY_CREATE_PUBLIC_FILES, "create files with rollcall_core::private_files");
}

#[test]
fn no_file_has_a_catch_all_name() {
    for krate in crates() {
        for file in &krate.files {
            for name in ["util", "common", "helper", "misc"] {
                assert!(
                    !file.path.contains(name),
                    "{}: choose a name that says what it contains",
                    display_path(&krate, file)
                );
            }
        }
    }
}

#[test]
fn each_folder_has_a_file_of_its_name_beside_it_and_no_mod_rs() {
    for krate in crates() {
        let modules = krate.by_module();
        for file in &krate.files {
            assert!(
                !file.path.ends_with("mod.rs"),
                "{}: use foo.rs beside foo/, not foo/mod.rs",
                display_path(&krate, file)
            );
            let (_, parent) = file.module.split_last().unwrap_or((&String::new(), &[])).to_owned();
            let is_binary = krate.name == "rollcall" && ["main", "bin"].contains(&part(&file.path));
            assert!(
                is_binary || modules.contains_key(parent),
                "{}: no file of the same name beside its folder",
                display_path(&krate, file)
            );
        }
    }
}

#[test]
fn main_is_short() {
    let all = crates();
    let main = all[0].files.iter().find(|file| file.path == "main.rs").expect("there is a main");
    assert!(main.text.lines().count() < 50);
}

/// Longest inline unit tests, in lines. Longer ones get a file of their own.
const MAX_INLINE_TEST_LINES: usize = 150;

#[test]
fn short_unit_tests_are_inline_and_long_ones_have_their_own_file() {
    let mut wrong = Vec::new();
    for krate in crates() {
        for file in &krate.files {
            let inline = file.test_lines();
            if inline > MAX_INLINE_TEST_LINES {
                wrong.push(format!(
                    "{}: {inline} lines of tests; move them to a file tests.rs",
                    display_path(&krate, file)
                ));
            }
        }
        for (path, text) in &krate.test_files {
            let inside = path.strip_suffix("tests.rs").is_some_and(|folder| krate.test_folder_has_more(folder));
            if path.ends_with("tests.rs") && !inside && text.lines().count() <= MAX_INLINE_TEST_LINES {
                wrong.push(format!("{}/{path}: short tests belong in the file that they test", krate.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
