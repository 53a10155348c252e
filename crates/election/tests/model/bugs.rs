//! Every seeded bug must be found. A check that cannot fail proves nothing.

use super::bounds::{Bounds, Bug, Start};
use super::check::expect_violation;

fn with_bug(bug: Bug, start: Start) -> Bounds {
    Bounds { bug: Some(bug), ..Bounds::quiet(start) }
}

#[test]
fn a_lease_as_long_as_the_promise_is_found_when_a_clock_lags() {
    expect_violation(
        "lease = V",
        Bounds { clock_skips: 1, ..with_bug(Bug::LeaseAsLongAsPromise, Start::Serving) },
        "I2",
    );
}

#[test]
fn different_timings_are_found() {
    expect_violation("different timings", with_bug(Bug::DifferentTimings, Start::Serving), "I2");
}

#[test]
fn a_start_without_boot_window_is_found() {
    let bounds =
        Bounds { kills: 2, time_passes: false, orderly_ends: false, ..with_bug(Bug::NoBootWindow, Start::Serving) };
    expect_violation("no boot window", bounds, "I2");
}

#[test]
fn a_lease_from_receipt_is_found() {
    expect_violation("lease from receipt", with_bug(Bug::LeaseFromReceipt, Start::Serving), "I2");
}

#[test]
fn a_handover_that_keeps_its_lease_is_found() {
    expect_violation("handover keeps lease", with_bug(Bug::HandoverKeepsLease, Start::Serving), "I2");
}

#[test]
fn a_volatile_vote_is_found() {
    let bounds = Bounds {
        terms: 1,
        kills: 1,
        faulty_node: Some(1),
        time_passes: false,
        ..with_bug(Bug::VolatileVote, Start::Idle)
    };
    expect_violation("volatile vote", bounds, "I1");
}

#[test]
fn a_link_closed_without_bye_while_leading_is_found() {
    expect_violation("no Bye", with_bug(Bug::ClosesWithoutBye, Start::Serving), "I2");
}

#[test]
fn a_wiped_node_that_votes_at_once_is_found() {
    let bounds = Bounds {
        terms: 1,
        kills: 1,
        wipes: 1,
        faulty_node: Some(1),
        time_passes: false,
        ..with_bug(Bug::WipedNodeVotes, Start::Idle)
    };
    expect_violation("wiped node votes", bounds, "I1");
}

#[test]
fn an_end_that_releases_any_promise_is_found() {
    let bounds = Bounds {
        kills: 1,
        faulty_node: Some(2),
        time_passes: false,
        ..with_bug(Bug::EndReleasesAnyPromise, Start::Idle)
    };
    expect_violation("end releases any promise", bounds, "I2");
}

#[test]
fn an_end_that_is_matched_by_address_is_found() {
    let bounds = Bounds {
        terms: 3,
        kills: 1,
        faulty_node: Some(0),
        time_passes: false,
        ..with_bug(Bug::EndByAddress, Start::Serving)
    };
    expect_violation("end by address", bounds, "I2");
}

#[test]
fn an_end_that_clears_the_vote_is_found() {
    let bounds =
        Bounds { terms: 1, kills: 1, restarts: false, time_passes: false, ..with_bug(Bug::EndClearsVote, Start::Idle) };
    expect_violation("end clears vote", bounds, "I1");
}

#[test]
fn a_boot_window_that_one_peer_can_end_is_found() {
    let bounds = Bounds {
        kills: 2,
        time_passes: false,
        orderly_ends: false,
        ..with_bug(Bug::OnePeerEndsWindow, Start::Serving)
    };
    expect_violation("one peer ends window", bounds, "I2");
}

#[test]
fn a_missing_bound_on_terms_is_found() {
    let bounds = Bounds { absurd_messages: 1, time_passes: false, ..with_bug(Bug::NoTermBound, Start::Serving) };
    expect_violation("no bound on terms", bounds, "I6");
}
