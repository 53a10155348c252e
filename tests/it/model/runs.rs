use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::{Bounds, Bug, Start};

fn go(name: &str, bounds: Bounds, secs: u64) {
    let start = std::time::SystemTime::now();
    let c = bounds.checker().threads(2).timeout(Duration::from_secs(secs)).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let took = start.elapsed().unwrap();
    let found = c.discoveries();
    println!("{name}: {} unique, {} total, depth {}, {took:.1?} done={} {:?}", c.unique_state_count(), c.state_count(), c.max_depth(), took < Duration::from_secs(secs), found.keys());
    for (k, p) in found { if k.starts_with('I') { let a = p.into_actions(); println!("  {k} {}", a.len()); for s in a { println!("     {s:?}"); } } }
}

#[test]
fn explore() {
    let want = std::env::var("MODEL").unwrap_or_default();
    let secs: u64 = std::env::var("SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let q = Bounds::quiet(Start::Serving);
    let cold = Bounds::quiet(Start::Cold);
    let bug = |b: Bug| Bounds { bug: Some(b), ..q.clone() };
    let runs = vec![
        ("quiet", q.clone()),
        ("quiet3", Bounds { terms: 3, ..q.clone() }),
        ("cold", cold.clone()),
        ("drift", Bounds { skips: 1, ..q.clone() }),
        ("kill", Bounds { kills: 1, ..q.clone() }),
        ("killnorestart", Bounds { kills: 1, restarts: false, ..q.clone() }),
        ("kill3", Bounds { kills: 1, terms: 3, ..q.clone() }),
        ("killdrift", Bounds { kills: 1, skips: 1, ..q.clone() }),
        ("kill2", Bounds { kills: 2, ..q.clone() }),
        ("stop", Bounds { stops: 1, ..q.clone() }),
        ("stop3", Bounds { stops: 1, terms: 3, ..q.clone() }),
        ("stopkill", Bounds { stops: 1, kills: 1, ..q.clone() }),
        ("coldkill", Bounds { kills: 1, ..cold.clone() }),
        ("slow", Bounds { slow_writes: 2, kills: 1, ..q.clone() }),
        ("answers", Bounds { slow_answers: true, kills: 1, ..q.clone() }),
        ("coldanswers", Bounds { slow_answers: true, terms: 1, ..cold.clone() }),
        ("wipe", Bounds { wipes: 1, kills: 1, terms: 2, ..q.clone() }),
        ("stale", Bounds { stale: true, ..q.clone() }),
        ("new", Bounds::quiet(Start::New)),
        ("newwipe", Bounds { kills: 1, wipes: 1, ..Bounds::quiet(Start::New) }),
        ("bug-lease", Bounds { skips: 1, ..bug(Bug::LeaseAsLongAsPromise) }),
        ("bug-timings", bug(Bug::DifferentTimings)),
        ("bug-window", Bounds { kills: 1, ..bug(Bug::NoBootWindow) }),
        ("bug-receipt", Bounds { ..bug(Bug::LeaseFromReceipt) }),
        ("bug-handover", bug(Bug::HandoverKeepsLease)),
        ("bug-volatile", Bounds { kills: 1, ..bug(Bug::VolatileVote) }),
        ("bug-bye", bug(Bug::ClosesWithoutBye)),
        ("bug-wiped", Bounds { kills: 1, wipes: 1, ..bug(Bug::WipedNodeVotes) }),
        ("bug-any", Bounds { kills: 1, terms: 3, ..bug(Bug::EndVoidsAnyPromise) }),
        ("bug-address", Bounds { kills: 1, terms: 3, ..bug(Bug::EndByAddress) }),
        ("bug-clears", Bounds { kills: 1, ..bug(Bug::EndClearsVote) }),
        ("bug-one", Bounds { kills: 1, ..bug(Bug::OneEndsWindow) }),
        ("bug-serves", Bounds { kills: 1, ..bug(Bug::LeadsMeansServes) }),
    ];
    for (name, b) in runs {
        if want.split(',').any(|w| name.starts_with(w)) { go(name, b, secs); }
    }
}
