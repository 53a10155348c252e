//! The runs without a bug. Each but the last is explored to the end of its bounds; the last goes as deep as it can in
//! the seconds that `ROLLCALL_MODEL_SECONDS` gives it.

use super::bounds::{Bounds, SlowAnswers, Start};
use super::check::{explore_all, explore_for};

#[test]
fn messages_that_are_late_or_lost_break_nothing() {
    explore_all("quiet", Bounds::quiet(Start::Serving), 2, &[]);
}

#[test]
fn a_first_election_with_every_vote_late_or_lost_breaks_nothing() {
    explore_all("idle", Bounds { terms: 1, ..Bounds::quiet(Start::Idle) }, 1, &[]);
}

#[test]
fn a_first_election_in_which_processes_die_and_return_has_one_winner() {
    let bounds = Bounds { terms: 1, kills: 1, afflicted: Some(1), time_passes: false, ..Bounds::quiet(Start::Idle) };
    explore_all("idle, kill", bounds, 1, &[]);
}

#[test]
fn a_cold_start_breaks_nothing() {
    explore_all("cold", Bounds { terms: 1, ..Bounds::quiet(Start::Cold) }, 1, &[]);
}

#[test]
fn a_clock_that_lags_breaks_nothing() {
    explore_all("drift", Bounds { skips: 1, afflicted: Some(0), ..Bounds::quiet(Start::Serving) }, 2, &[]);
}

#[test]
fn a_leader_that_dies_for_good_is_replaced_at_once() {
    // Time stands still, so only the proof of death can have voided the promises.
    let bounds = Bounds { kills: 1, restarts: false, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all("death at once", bounds, 2, &[]);
}

#[test]
fn a_process_that_dies_for_good_breaks_nothing() {
    explore_all("death", Bounds { kills: 1, restarts: false, ..Bounds::quiet(Start::Serving) }, 2, &[]);
}

#[test]
fn a_process_that_dies_and_returns_at_once_breaks_nothing() {
    let bounds = Bounds { kills: 1, time_passes: false, ..Bounds::quiet(Start::Serving) };
    explore_all("restart at once", bounds, 2, &[]);
}

#[test]
fn a_handover_breaks_nothing() {
    explore_all("handover", Bounds { stops: 1, ..Bounds::quiet(Start::Serving) }, 2, &[]);
}

#[test]
fn a_vote_that_is_slow_to_reach_the_disk_breaks_nothing() {
    let bounds = Bounds {
        terms: 1,
        slow_writes: 2,
        kills: 1,
        afflicted: Some(1),
        time_passes: false,
        ..Bounds::quiet(Start::Idle)
    };
    explore_all("slow disk", bounds, 1, &[]);
}

#[test]
fn a_wiped_node_helps_elect_no_second_leader_of_a_term() {
    // The bounds in which the bug of a wiped node that votes at once is found.
    let bounds =
        Bounds { terms: 1, kills: 1, wipes: 1, afflicted: Some(1), time_passes: false, ..Bounds::quiet(Start::Idle) };
    explore_all("wiped", bounds, 1, &[]);
}

#[test]
fn everything_at_once_breaks_nothing_for_as_long_as_it_may_run() {
    let bounds = Bounds {
        terms: 3,
        kills: 2,
        wipes: 1,
        stops: 1,
        skips: 1,
        slow_writes: 2,
        slow_answers: SlowAnswers::ToAll,
        stale: true,
        ..Bounds::quiet(Start::Serving)
    };
    let seconds = std::env::var("ROLLCALL_MODEL_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    super::check::walk("everything", &bounds, std::time::Duration::from_secs(seconds));
}

#[test]
fn probe() {
    let q = Bounds::quiet(Start::Serving);
    let i = Bounds::quiet(Start::Idle);
    for (name, bounds) in [
        ("A restart 1, time, silent, slow", Bounds { kills: 1, ends: false, slow_answers: SlowAnswers::ToReturned, afflicted: Some(1), ..Bounds::quiet(Start::Serving) }),
        ("B restart 0, time, silent, slow", Bounds { kills: 1, ends: false, slow_answers: SlowAnswers::ToReturned, afflicted: Some(0), ..Bounds::quiet(Start::Serving) }),
        ("B2 restart 0, no time, slow", Bounds { kills: 1, time_passes: false, slow_answers: SlowAnswers::ToReturned, afflicted: Some(0), ..Bounds::quiet(Start::Serving) }),
        ("B3 restart any, no time, slow, stop", Bounds { kills: 1, time_passes: false, stops: 1, slow_answers: SlowAnswers::ToReturned, ..Bounds::quiet(Start::Serving) }),
        ("D wiped 1 idle time silent slow", Bounds { kills: 1, ends: false, wipes: 1, afflicted: Some(1), terms: 1, slow_answers: SlowAnswers::ToReturned, ..Bounds::quiet(Start::Idle) }),
        ("S stale, stop, no time, t3", Bounds { terms: 3, stale: true, stops: 1, time_passes: false, ..Bounds::quiet(Start::Serving) }),
        ("S2 stale, stop, time", Bounds { stale: true, stops: 1, ..Bounds::quiet(Start::Serving) }),
        ("S3 stale, stops 2, no time, t3", Bounds { terms: 3, stale: true, stops: 2, time_passes: false, ..Bounds::quiet(Start::Serving) }),
    ] {
        let start = std::time::SystemTime::now();
        let seen = bounds.seen.clone();
        explore_for(name, bounds, std::time::Duration::from_secs(15));
        println!("   {:?} {:?}", start.elapsed(), seen);
    }
}
