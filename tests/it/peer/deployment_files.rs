//! Checks the Makefile and the container files against the program. No other test reads them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is shipped")
}

/// Variables with this prefix that a text names.
fn variables_in<'text>(text: &'text str, prefix: &str) -> BTreeSet<&'text str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(prefix)).collect()
}

#[test]
fn make_has_each_documented_target_with_a_help_line() {
    let makefile = read("Makefile");
    let documented = "help check build run run-config test test-cover test-cover-html demo demo-logs demo-status demo-stop \
                      demo-clean demo-connect-bootstrap demo-connect-peer1 demo-connect-peer2 docker-build docker-run deps";
    for target in documented.split_whitespace() {
        let is_target = |line: &str| line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':'));
        let line = makefile.lines().find(|line| is_target(line)).unwrap_or_else(|| panic!("no target {target}"));
        assert!(line.contains(" ## "), "{target} has no help");
        let phony = makefile.split(".PHONY:").nth(1).expect("a line .PHONY");
        assert!(phony.split_whitespace().any(|word| word == target), "{target} is not in .PHONY");
    }
}

#[test]
fn containers_use_only_variables_that_the_program_knows() {
    let peers: BTreeSet<&str> = rollcall::config::chat::env_vars().collect();
    let compose = read("docker-compose.yml");
    let given = variables_in(&compose, "P2P_");
    assert!(given.len() >= 5, "{given:?}");
    assert!(given.is_subset(&peers), "{:?}", given.difference(&peers));

    let nodes: BTreeSet<&str> = rollcall::config::env_vars().collect();
    let compose = read("docker-compose.registry.yml");
    let given = variables_in(&compose, "ROLLCALL_");
    assert!(given.len() >= 4, "{given:?}");
    assert!(given.is_subset(&nodes), "{:?}", given.difference(&nodes));
}

#[test]
fn all_containers_have_limits_and_no_capabilities() {
    for file in ["docker-compose.yml", "docker-compose.registry.yml"] {
        let compose = read(file);
        let shared = compose.split("\nservices:").next().expect("the shared settings before the services");
        for limit in ["cap_drop: [ALL]", "no-new-privileges:true", "read_only: true", "mem_limit: ", "pids_limit: "] {
            assert!(shared.contains(limit), "{file} lacks {limit}");
        }
    }
}

#[test]
fn the_demo_script_unsets_all_variables_of_a_peer_except_those_of_the_log() {
    let script = read("tools/peers_demo.sh");
    let unset = script.split("unset ").nth(1).and_then(|rest| rest.split('}').next()).expect("an unset command");
    let mut unset: BTreeSet<_> = ["P2P_", "ROLLCALL_"].iter().flat_map(|prefix| variables_in(unset, prefix)).collect();
    unset.extend(["P2P_LOG_LEVEL", "P2P_LOG_FORMAT"]);
    assert_eq!(unset, rollcall::config::chat::env_vars().collect());
}
