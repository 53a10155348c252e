//! Runs the model checker and reports the result.

use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use stateright::{Checker, HasDiscoveries, Model};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::milestones::Milestone;

/// Largest number of states of a run that cannot be explored completely. At this size the queue of
/// states takes some gigabytes of memory.
const MAX_STATES: usize = 3_000_000;

/// Number of steps of one random walk.
const WALK_STEPS: usize = 150;

struct Explored<C> {
    checker: C,
    /// Number of states whose steps were all taken.
    expanded_states: usize,
}

fn explore(name: &str, bounds: Bounds, threads: usize, time: Option<Duration>) -> Explored<impl Checker<Bounds>> {
    let milestones = Arc::clone(&bounds.milestones);
    let checker = bounds.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = match time {
        Some(time) => checker.timeout(time).target_state_count(MAX_STATES),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    // Read the number now. The checker takes steps again when it reconstructs a path.
    let expanded_states = milestones.expanded_states();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let end = if expanded_states == states { "" } else { ", not completely" };
    println!("{name}: {states} states, {depth} steps deep{end}");
    Explored { checker, expanded_states }
}

fn assert_no_violation(name: &str, checker: &impl Checker<Bounds>) {
    let violated = checker.discoveries().into_iter().find(|(property, _)| property.starts_with('I'));
    if let Some((property, path)) = violated {
        panic!("{name} breaks {property}:\n{:#?}", path.into_actions());
    }
}

/// Explores every state within the bounds. In every term up to `served` a node must have served,
/// and all `required` milestones must be reached. A run in which nothing happens proves nothing.
pub(super) fn explore_all(name: &str, bounds: Bounds, served: u64, required: &[Milestone]) {
    let milestones = Arc::clone(&bounds.milestones);
    let Explored { checker, expanded_states } = explore(name, bounds, 1, None);
    assert_no_violation(name, &checker);
    assert_eq!(expanded_states, checker.unique_state_count(), "{name}: not explored completely");
    for term in 1..=served {
        let wanted = format!("serving in term {term}");
        assert!(checker.discoveries().contains_key(wanted.as_str()), "{name}: no node was {wanted}");
    }
    for milestone in required {
        assert!(milestones.reached(*milestone), "{name}: never reached {milestone:?}");
    }
}

/// Explores a run breadth first, for a limited time. It is for runs that are too large to be
/// explored completely.
pub(super) fn explore_for(name: &str, bounds: Bounds, time: Duration) {
    // The checker respects the time limit only with more than one thread.
    assert_no_violation(name, &explore(name, bounds, 2, Some(time)).checker);
}

/// Takes random walks for a limited time. A walk reaches much greater depths than an exploration,
/// but walks do not reach every state.
pub(super) fn random_walk(name: &str, bounds: &Bounds, time: Duration) {
    let properties = bounds.properties();
    let deadline = Instant::now() + time;
    let (mut walks, mut taken) = (0, 0);
    while Instant::now() < deadline {
        let mut rng = StdRng::seed_from_u64(walks);
        let mut world = bounds.init_states().remove(0);
        let mut path = Vec::new();
        while path.len() < WALK_STEPS {
            let mut steps = Vec::new();
            bounds.actions(&world, &mut steps);
            let step = steps.swap_remove(rng.random_range(0..steps.len()));
            let Some(next) = bounds.next_state(&world, step.clone()) else { continue };
            world = next;
            path.push(step);
            let violated = properties.iter().find(|all| all.name.starts_with('I') && !(all.condition)(bounds, &world));
            if let Some(property) = violated {
                panic!("{name} breaks {} in walk {walks}:\n{path:#?}", property.name);
            }
        }
        walks += 1;
        taken += path.len();
    }
    println!("{name}: {walks} walks, {taken} steps");
}

/// Explores until `property` is violated.
pub(super) fn expect_violation(name: &str, bounds: Bounds, property: &str) {
    let checker = explore(name, bounds, 1, None).checker;
    let violated = checker.discoveries().into_iter().find(|(found, _)| found.starts_with(property));
    let (property, path) = violated.unwrap_or_else(|| panic!("{name}: the seeded bug was not found"));
    let steps = path.into_actions();
    println!("{name}: breaks {property} in {} steps", steps.len());
}
