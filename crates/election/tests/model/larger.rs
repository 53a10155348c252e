//! Runs that are too large to be explored completely in every test.
//!
//! `ROLLCALL_MODEL_SECONDS` sets how long each of the two tests takes. The default is a few
//! seconds, which shows that the runs work.

use std::time::Duration;

use tokio::time::Instant;

use super::bounds::{Bounds, SlowAnswers, Start};
use super::check::{explore_for, random_walk};

const DEFAULT_SECONDS: u64 = 5;

fn time_limit() -> Duration {
    let seconds = std::env::var("ROLLCALL_MODEL_SECONDS").ok();
    Duration::from_secs(seconds.map_or(DEFAULT_SECONDS, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Smaller runs come first, so that later runs can use the time that the earlier ones leave.
fn larger() -> Vec<(&'static str, Bounds)> {
    let serving = || Bounds::quiet(Start::Serving);
    let idle = || Bounds::quiet(Start::Idle);
    let to_restarted = SlowAnswers::ToRestarted(2);
    vec![
        ("every clock may lag", Bounds { clock_skips: 1, ..serving() }),
        ("late answers, no time", Bounds { terms: 1, slow_answers: SlowAnswers::Always, time_passes: false, ..idle() }),
        (
            "restart of the leader, all answers late, no time",
            Bounds {
                kills: 1,
                faulty_node: Some(0),
                slow_answers: SlowAnswers::ToRestarted(u8::MAX),
                time_passes: false,
                ..serving()
            },
        ),
        ("wiped follower", Bounds { kills: 1, wipes: 1, faulty_node: Some(1), orderly_ends: false, ..serving() }),
        (
            "handover, restart, late answers, no time",
            Bounds { kills: 1, stops: 1, slow_answers: to_restarted, time_passes: false, ..serving() },
        ),
        ("two restarts, no time", Bounds { kills: 2, time_passes: false, ..serving() }),
        ("restart of a follower", Bounds { kills: 1, faulty_node: Some(1), ..serving() }),
        (
            "handover, restart of a follower",
            Bounds { kills: 1, stops: 1, faulty_node: Some(1), orderly_ends: false, ..serving() },
        ),
        ("restart of the leader", Bounds { kills: 1, faulty_node: Some(0), ..serving() }),
        ("handover, third term", Bounds { terms: 3, stops: 1, ..serving() }),
        (
            "restart of a follower, third term",
            Bounds { terms: 3, kills: 1, faulty_node: Some(1), orderly_ends: false, ..serving() },
        ),
        ("handover, stale messages", Bounds { stops: 1, stale_messages: true, ..serving() }),
        (
            "restart of a follower, late answers",
            Bounds { kills: 1, faulty_node: Some(1), orderly_ends: false, slow_answers: to_restarted, ..serving() },
        ),
        (
            "restart of the leader, late answers",
            Bounds { kills: 1, faulty_node: Some(0), orderly_ends: false, slow_answers: to_restarted, ..serving() },
        ),
        ("late answers", Bounds { terms: 1, slow_answers: SlowAnswers::Always, ..idle() }),
    ]
}

#[test]
fn larger_runs_break_no_invariant_within_the_time_limit() {
    let larger = larger();
    let mut left = u32::try_from(larger.len()).expect("there are few runs");
    let (deadline, share) = (Instant::now() + time_limit(), time_limit() / left);
    for (name, bounds) in larger {
        // The time that the earlier runs left, and at least an equal share of the total.
        explore_for(name, bounds, share.max(deadline.saturating_duration_since(Instant::now()) / left));
        left -= 1;
    }
}

#[test]
fn random_walks_with_all_faults_break_no_invariant() {
    let bounds = Bounds {
        terms: 6,
        kills: 3,
        wipes: 1,
        stops: 2,
        clock_skips: 1,
        slow_writes: 3,
        slow_answers: SlowAnswers::Always,
        stale_messages: true,
        absurd_messages: 2,
        ..Bounds::quiet(Start::Serving)
    };
    random_walk("everything", &bounds, time_limit());
}
