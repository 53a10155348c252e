//! Every planted bug must be found: a check that cannot fail proves nothing.

use super::bounds::{Bounds, Bug, Start};
use super::check::find;

fn planted(bug: Bug, start: Start) -> Bounds {
    Bounds { bug: Some(bug), ..Bounds::quiet(start) }
}

#[test]
fn a_lease_as_long_as_the_promise_is_found_when_a_clock_lags() {
    find("lease = V", Bounds { skips: 1, ..planted(Bug::LeaseAsLongAsPromise, Start::Serving) }, "I2");
}

#[test]
fn different_timings_are_found() {
    find("different timings", planted(Bug::DifferentTimings, Start::Serving), "I2");
}

#[test]
fn a_start_without_boot_window_is_found() {
    let bounds = Bounds { kills: 2, time_passes: false, ends: false, ..planted(Bug::NoBootWindow, Start::Serving) };
    find("no boot window", bounds, "I2");
}

#[test]
fn a_lease_from_receipt_is_found() {
    find("lease from receipt", planted(Bug::LeaseFromReceipt, Start::Serving), "I2");
}

#[test]
fn a_handover_that_keeps_its_lease_is_found() {
    find("handover keeps lease", planted(Bug::HandoverKeepsLease, Start::Serving), "I2");
}

#[test]
fn a_volatile_vote_is_found() {
    let bounds = Bounds {
        terms: 1,
        kills: 1,
        afflicted: Some(1),
        time_passes: false,
        ..planted(Bug::VolatileVote, Start::Idle)
    };
    find("volatile vote", bounds, "I1");
}

#[test]
fn a_link_closed_without_bye_while_leading_is_found() {
    find("no Bye", planted(Bug::ClosesWithoutBye, Start::Serving), "I2");
}

#[test]
fn a_wiped_node_that_votes_at_once_is_found() {
    let bounds = Bounds {
        terms: 1,
        kills: 1,
        wipes: 1,
        afflicted: Some(1),
        time_passes: false,
        ..planted(Bug::WipedNodeVotes, Start::Idle)
    };
    find("wiped node votes", bounds, "I1");
}

#[test]
fn an_end_that_voids_any_promise_is_found() {
    let bounds =
        Bounds { kills: 1, afflicted: Some(2), time_passes: false, ..planted(Bug::EndVoidsAnyPromise, Start::Idle) };
    find("end voids any promise", bounds, "I2");
}

#[test]
fn an_end_that_is_matched_by_address_is_found() {
    let bounds = Bounds {
        terms: 3,
        kills: 1,
        afflicted: Some(0),
        time_passes: false,
        ..planted(Bug::EndByAddress, Start::Serving)
    };
    find("end by address", bounds, "I2");
}

#[test]
fn an_end_that_clears_the_vote_is_found() {
    let bounds =
        Bounds { terms: 1, kills: 1, restarts: false, time_passes: false, ..planted(Bug::EndClearsVote, Start::Idle) };
    find("end clears vote", bounds, "I1");
}

#[test]
fn a_boot_window_that_one_peer_can_end_is_found() {
    let bounds = Bounds { kills: 2, time_passes: false, ends: false, ..planted(Bug::OneEndsWindow, Start::Serving) };
    find("one peer ends window", bounds, "I2");
}
