//! Runs without bugs that are explored completely.

use super::bounds::{Bounds, SlowAnswers, Start};
use super::check::explore_all;
use super::milestones::Milestone;

#[test]
fn late_and_lost_messages_break_no_invariant() {
    explore_all("quiet", Bounds::quiet(Start::Serving), 2, &[Milestone::MajorityLost]);
}

#[test]
fn a_third_leader_breaks_no_invariant() {
    explore_all("third term", Bounds { terms: 3, ..Bounds::quiet(Start::Serving) }, 3, &[Milestone::MajorityLost]);
}

#[test]
fn a_first_election_with_every_vote_late_or_lost_breaks_no_invariant() {
    explore_all("idle", Bounds { terms: 1, ..Bounds::quiet(Start::Idle) }, 1, &[]);
}

#[test]
fn a_first_election_with_restarts_has_one_winner() {
    let bounds = Bounds { terms: 1, kills: 1, faulty_node: Some(1), time_passes: false, ..Bounds::quiet(Start::Idle) };
    explore_all("idle, kill", bounds, 1, &[Milestone::RestartedNodeVoted]);
}

#[test]
fn a_cold_start_breaks_no_invariant() {
    let bounds = Bounds { terms: 1, ..Bounds::quiet(Start::Cold) };
    explore_all("cold", bounds, 1, &[Milestone::BootWindowExpired, Milestone::BootWindowEndedEarly]);
}

#[test]
fn a_lagging_clock_breaks_no_invariant() {
    let bounds = Bounds { clock_skips: 1, faulty_node: Some(0), ..Bounds::quiet(Start::Serving) };
    explore_all("drift", bounds, 2, &[Milestone::MajorityLost]);
}

#[test]
fn a_leader_that_dies_for_good_is_replaced_at_once() {
    // Time does not pass, so only the proof of death can have released the promises.
    let bounds = Bounds { kills: 1, restarts: false, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all("death at once", bounds, 2, &[Milestone::LeaderDied]);
}

#[test]
fn a_process_that_dies_for_good_breaks_no_invariant() {
    let bounds = Bounds { kills: 1, restarts: false, ..Bounds::quiet(Start::Serving) };
    explore_all("death", bounds, 2, &[Milestone::LeaderDied, Milestone::MajorityLost]);
}

#[test]
fn a_process_that_restarts_at_once_breaks_no_invariant() {
    let bounds = Bounds { kills: 1, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all(
        "restart at once",
        bounds,
        2,
        &[Milestone::BootWindowEndedEarly, Milestone::SuccessorServedAfterRestart],
    );
}

/// Milestones around a restarted node while time passes: everything that can happen to its boot
/// window.
const RESTART_MILESTONES: [Milestone; 4] = [
    Milestone::BootWindowExpired,
    Milestone::BootWindowEndedEarly,
    Milestone::RestartedNodeVoted,
    Milestone::SuccessorServedAfterRestart,
];

#[test]
fn a_restarted_follower_votes_for_no_second_leader() {
    let bounds = Bounds { kills: 1, orderly_ends: false, faulty_node: Some(1), ..Bounds::quiet(Start::Serving) };
    explore_all("restart of a follower", bounds, 2, &RESTART_MILESTONES);
}

#[test]
fn a_restarted_leader_votes_for_no_second_leader() {
    let bounds = Bounds { kills: 1, orderly_ends: false, faulty_node: Some(0), ..Bounds::quiet(Start::Serving) };
    explore_all("restart of the leader", bounds, 2, &RESTART_MILESTONES);
}

#[test]
fn late_answers_do_not_end_the_boot_window_of_a_restarted_node_too_early() {
    let bounds = Bounds {
        kills: 1,
        faulty_node: Some(0),
        slow_answers: SlowAnswers::ToRestarted(2),
        time_passes: false,
        ..Bounds::quiet(Start::Serving)
    };
    explore_all("late answers", bounds, 2, &[Milestone::BootWindowEndedEarly, Milestone::RestartedNodeVoted]);
}

#[test]
fn a_handover_breaks_no_invariant() {
    let bounds = Bounds { stops: 1, ..Bounds::quiet(Start::Serving) };
    explore_all("handover", bounds, 2, &[Milestone::HandedOver, Milestone::Resigned]);
}

#[test]
fn handovers_and_a_restart_break_no_invariant() {
    let bounds = Bounds { terms: 3, kills: 1, stops: 1, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all("handover, restart", bounds, 3, &[Milestone::HandedOver, Milestone::SuccessorServedAfterRestart]);
}

#[test]
fn messages_of_a_past_term_are_ignored() {
    // Two handovers while time does not pass. Any message of the first two leaders may arrive while
    // the third one leads.
    let bounds =
        Bounds { terms: 3, stops: 2, stale_messages: true, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all("stale messages", bounds, 3, &[Milestone::StaleMessageArrived, Milestone::HandedOver]);
}

#[test]
fn a_slow_ballot_write_breaks_no_invariant() {
    let bounds = Bounds {
        terms: 1,
        slow_writes: 2,
        kills: 1,
        faulty_node: Some(1),
        time_passes: false,
        ..Bounds::quiet(Start::Idle)
    };
    explore_all("slow disk", bounds, 1, &[Milestone::RestartedNodeVoted]);
}

#[test]
fn a_wiped_node_helps_elect_no_second_leader_of_a_term() {
    // The bounds in which the bug `WipedNodeVotes` is found.
    let bounds =
        Bounds { terms: 1, kills: 1, wipes: 1, faulty_node: Some(1), time_passes: false, ..Bounds::quiet(Start::Idle) };
    explore_all("wiped", bounds, 1, &[]);
}

#[test]
fn a_wiped_node_that_votes_again_helps_elect_no_second_leader_of_a_term() {
    let bounds = Bounds {
        terms: 1,
        kills: 1,
        wipes: 1,
        faulty_node: Some(1),
        orderly_ends: false,
        ..Bounds::quiet(Start::Idle)
    };
    explore_all("wiped, and time", bounds, 1, &[Milestone::LostBallotRecovered, Milestone::WipedNodeVoted]);
}

#[test]
fn absurd_messages_of_a_faulty_member_break_no_invariant() {
    // The bounds in which the bug `NoTermBound` is found, and a restart: a response that is not
    // ignored would end its boot window.
    let bounds = Bounds {
        absurd_messages: 1,
        kills: 1,
        faulty_node: Some(0),
        time_passes: false,
        ..Bounds::quiet(Start::Serving)
    };
    explore_all(
        "absurd messages",
        bounds,
        2,
        &[Milestone::AbsurdMessageIgnored, Milestone::SuccessorServedAfterRestart],
    );
}
