//! Every seeded bug must be found by one of a limited number of storms, as a violation of the right
//! rule.

use super::world::storm::Storm;
use super::world::{Bug, Rule};

/// One of the first `within` storms must find `bug` and violate one of `rules`.
fn assert_found(bug: Bug, nodes: usize, within: u64, rules: &[Rule]) {
    let found = (0..within).find_map(|seed| {
        let outcome = Storm { nodes, seed, bug: Some(bug) }.run();
        outcome.violation.filter(|violation| rules.contains(&violation.rule)).map(|violation| (seed, violation))
    });
    println!("{bug:?}: {found:?}");
    assert!(found.is_some(), "{within} storms did not find {bug:?}");
}

#[test]
fn a_lease_as_long_as_the_promise_is_found() {
    assert_found(Bug::LeaseAsLongAsPromise, 3, 10000, &[Rule::OneServingNode]);
}
#[test]
fn a_start_without_a_boot_window_is_found() {
    assert_found(Bug::NoBootWindow, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn a_boot_window_that_one_peer_ends_is_found() {
    assert_found(Bug::OnePeerEndsWindow, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn a_lease_from_the_receipt_is_found() {
    assert_found(Bug::LeaseFromReceipt, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn a_handover_that_keeps_its_lease_is_found() {
    assert_found(Bug::HandoverKeepsLease, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn a_vote_that_is_forgotten_is_found() {
    assert_found(Bug::VolatileVote, 3, 2000, &[Rule::OneLeaderPerTerm]);
}
#[test]
fn a_ballot_that_counts_as_saved_too_early_is_found() {
    assert_found(Bug::ReportedSavedTooEarly, 3, 2000, &[Rule::Durable]);
}
#[test]
fn a_ballot_that_is_used_before_it_is_synced_is_found() {
    assert_found(Bug::LoadsWithoutSync, 3, 2000, &[Rule::Durable]);
}
#[test]
fn a_living_leader_that_ends_its_links_in_order_is_found() {
    assert_found(Bug::ClosesInOrder, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn timings_that_differ_are_found() {
    assert_found(Bug::DifferentTimings, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn a_wiped_node_that_votes_at_once_is_found() {
    assert_found(Bug::WipedNodeVotes, 3, 2000, &[Rule::OneLeaderPerTerm]);
}
#[test]
fn an_end_that_releases_any_promise_is_found() {
    assert_found(Bug::EndReleasesAnyPromise, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn an_end_that_is_matched_by_address_is_found() {
    assert_found(Bug::EndMatchedByAddress, 3, 2000, &[Rule::OneServingNode]);
}
#[test]
fn an_end_that_clears_the_vote_is_found() {
    assert_found(Bug::EndClearsVote, 3, 2000, &[Rule::OneLeaderPerTerm]);
}
#[test]
fn a_missing_bound_on_terms_is_found() {
    assert_found(Bug::NoTermBound, 3, 2000, &[Rule::TermsLast]);
}
