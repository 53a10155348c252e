//! Every mistake that is planted must be found, by a storm of a bounded range, and by the rule that it breaks.

use super::world::storm::Storm;
use super::world::{Bug, Rule};

/// The first storm that finds `bug` must come before `within`, and must break one of `rules`.
fn is_found(bug: Bug, nodes: usize, within: u64, rules: &[Rule]) {
    let found = (0..within).find_map(|seed| {
        let outcome = Storm { nodes, seed, bug: Some(bug) }.run();
        outcome.violation.filter(|violation| rules.contains(&violation.rule)).map(|violation| (seed, violation))
    });
    println!("{bug:?}: {found:?}");
    assert!(found.is_some(), "{within} storms did not find {bug:?}");
}

#[test]
fn a_lease_as_long_as_the_promise() {
    is_found(Bug::LeaseIsPromise, 3, 10000, &[Rule::OneServes]);
}
#[test]
fn no_boot_window() {
    is_found(Bug::NoBootWindow, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn a_boot_window_that_one_peer_ends() {
    is_found(Bug::OnePeerEndsWindow, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn a_lease_from_the_receipt() {
    is_found(Bug::LeaseFromReceipt, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn a_handover_that_keeps_its_lease() {
    is_found(Bug::HandoverKeepsLease, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn a_vote_that_is_forgotten() {
    is_found(Bug::VolatileVote, 3, 2000, &[Rule::OneLeaderATerm]);
}
#[test]
fn a_ballot_that_counts_as_saved_too_early() {
    is_found(Bug::SavedTooEarly, 3, 2000, &[Rule::Durable]);
}
#[test]
fn a_ballot_that_is_believed_before_it_is_synced() {
    is_found(Bug::LoadsWithoutSync, 3, 2000, &[Rule::Durable]);
}
#[test]
fn a_living_leader_that_ends_its_links_in_order() {
    is_found(Bug::ClosesInOrder, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn timings_that_differ() {
    is_found(Bug::DifferentTimings, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn a_wiped_node_that_votes_at_once() {
    is_found(Bug::WipedVotesAtOnce, 3, 2000, &[Rule::OneLeaderATerm]);
}
#[test]
fn an_end_that_voids_any_promise() {
    is_found(Bug::EndVoidsAnyPromise, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn an_end_that_is_matched_by_address() {
    is_found(Bug::EndMatchedByAddress, 3, 2000, &[Rule::OneServes]);
}
#[test]
fn an_end_that_clears_the_vote() {
    is_found(Bug::EndClearsVote, 3, 2000, &[Rule::OneLeaderATerm]);
}
