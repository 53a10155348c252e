//! Runs the checker and says what it saw.

use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use stateright::{Checker, HasDiscoveries, Model};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::seen::Sight;

/// What is too much to be explored to the end ends at as many states: those that wait take some gigabytes by then.
const MOST_STATES: usize = 3_000_000;

/// How many steps a walk has.
const WALK_STEPS: usize = 150;

struct Explored<C> {
    checker: C,
    /// Of how many states every step was taken.
    looked_into: usize,
}

fn explore(name: &str, bounds: Bounds, threads: usize, time: Option<Duration>) -> Explored<impl Checker<Bounds>> {
    let seen = Arc::clone(&bounds.seen);
    let checker = bounds.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = match time {
        Some(time) => checker.timeout(time).target_state_count(MOST_STATES),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    // Read at once: to show a path, the checker takes its steps again.
    let looked_into = seen.looked_into();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let end = if looked_into == states { "" } else { ", not to the end" };
    println!("{name}: {states} states, {depth} steps deep{end}");
    Explored { checker, looked_into }
}

fn assert_unbroken(name: &str, checker: &impl Checker<Bounds>) {
    let broken = checker.discoveries().into_iter().find(|(property, _)| property.starts_with('I'));
    if let Some((property, path)) = broken {
        panic!("{name} breaks {property}:\n{:#?}", path.into_actions());
    }
}

/// Explores every state within the bounds. Somebody must have served in every term up to `served`, and `sights` must
/// have been come across: a run in which nothing happens proves nothing.
pub(super) fn explore_all(name: &str, bounds: Bounds, served: u64, sights: &[Sight]) {
    let seen = Arc::clone(&bounds.seen);
    let Explored { checker, looked_into } = explore(name, bounds, 1, None);
    assert_unbroken(name, &checker);
    assert_eq!(looked_into, checker.unique_state_count(), "{name}: not explored to the end");
    for term in 1..=served {
        let wanted = format!("serving in term {term}");
        assert!(checker.discoveries().contains_key(wanted.as_str()), "{name}: nobody ever was {wanted}");
    }
    for sight in sights {
        assert!(seen.has(*sight), "{name}: never came across {sight:?}");
    }
}

/// Explores for a while, breadth first, what is too much to be explored to the end in every test.
pub(super) fn explore_for(name: &str, bounds: Bounds, time: Duration) {
    // The checker heeds the time only with more than one thread.
    assert_unbroken(name, &explore(name, bounds, 2, Some(time)).checker);
}

/// Takes steps at random for a while: much deeper than any exploration gets, and never everywhere.
pub(super) fn walk(name: &str, bounds: &Bounds, time: Duration) {
    let properties = bounds.properties();
    let ends = Instant::now() + time;
    let (mut walks, mut taken) = (0, 0);
    while Instant::now() < ends {
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
            let broken = properties.iter().find(|all| all.name.starts_with('I') && !(all.condition)(bounds, &world));
            if let Some(property) = broken {
                panic!("{name} breaks {} in walk {walks}:\n{path:#?}", property.name);
            }
        }
        walks += 1;
        taken += path.len();
    }
    println!("{name}: {walks} walks, {taken} steps");
}

/// Explores until `property` is broken.
pub(super) fn find(name: &str, bounds: Bounds, property: &str) {
    let checker = explore(name, bounds, 1, None).checker;
    let broken = checker.discoveries().into_iter().find(|(found, _)| found.starts_with(property));
    let (property, path) = broken.unwrap_or_else(|| panic!("{name}: the planted bug was not found"));
    let steps = path.into_actions();
    println!("{name}: breaks {property} in {} steps", steps.len());
}
