//! The files beside the sources from which peers are run: the Makefile and what containers are made of. They are held against
//! the program here, since nothing else reads them before somebody needs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is shipped")
}

/// The variables that a text names, each with this prefix.
fn named<'text>(text: &'text str, prefix: &str) -> BTreeSet<&'text str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(prefix)).collect()
}

#[test]
fn make_has_every_documented_target_and_a_line_of_help_for_it() {
    let makefile = read("Makefile");
    let documented = "help check build run run-config test test-cover test-cover-html demo demo-logs demo-status demo-stop \
                      demo-clean demo-connect-bootstrap demo-connect-peer1 demo-connect-peer2 docker-build docker-run deps";
    for target in documented.split_whitespace() {
        let is_target = |line: &str| line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':'));
        let line = makefile.lines().find(|line| is_target(line)).unwrap_or_else(|| panic!("no target {target}"));
        assert!(line.contains(" ## "), "{target} has no help");
        let phony = makefile.split(".PHONY:").nth(1).expect("they are no files");
        assert!(phony.split_whitespace().any(|word| word == target), "{target} is no file");
    }
}

#[test]
fn containers_are_given_variables_that_the_program_knows() {
    let peers: BTreeSet<&str> = rollcall::config::chat::env_vars().collect();
    let compose = read("docker-compose.yml");
    let given = named(&compose, "P2P_");
    assert!(given.len() >= 5, "{given:?}");
    assert!(given.is_subset(&peers), "{:?}", given.difference(&peers));

    let nodes: BTreeSet<&str> = rollcall::config::env_vars().collect();
    let compose = read("docker-compose.registry.yml");
    let given = named(&compose, "ROLLCALL_");
    assert!(given.len() >= 4, "{given:?}");
    assert!(given.is_subset(&nodes), "{:?}", given.difference(&nodes));
}

#[test]
fn no_container_may_take_all_of_its_machine_or_more_rights_than_it_needs() {
    for file in ["docker-compose.yml", "docker-compose.registry.yml"] {
        let compose = read(file);
        let shared = compose.split("\nservices:").next().expect("what all have stands first");
        for limit in ["cap_drop: [ALL]", "no-new-privileges:true", "read_only: true", "mem_limit: ", "pids_limit: "] {
            assert!(shared.contains(limit), "{file} lacks {limit}");
        }
    }
}

#[test]
fn a_script_that_forgets_the_variables_of_a_peer_forgets_all_but_the_logs() {
    let script = read("tools/peers_demo.sh");
    let forgotten = script.split("unset ").nth(1).and_then(|rest| rest.split('}').next()).expect("it forgets them");
    let mut forgotten = named(forgotten, "P2P_");
    forgotten.extend(["P2P_LOG_LEVEL", "P2P_LOG_FORMAT"]);
    assert_eq!(forgotten, rollcall::config::chat::env_vars().collect());
}
