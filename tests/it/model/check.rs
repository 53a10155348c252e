//! Runs the checker and says what it saw.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::Bounds;

fn explore(name: &str, bounds: Bounds, threads: usize, seconds: Option<u64>) -> impl Checker<Bounds> {
    let checker = bounds.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = match seconds {
        Some(seconds) => checker.timeout(Duration::from_secs(seconds)),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, {depth} steps deep");
    checker
}

fn assert_unbroken(name: &str, checker: &impl Checker<Bounds>) {
    let broken = checker.discoveries().into_iter().find(|(property, _)| property.starts_with('I'));
    if let Some((property, path)) = broken {
        panic!("{name} breaks {property}:\n{:#?}", path.into_actions());
    }
}

/// Explores every state within the bounds. Somebody must have served in every term up to `served`: a run in which
/// nobody leads proves nothing.
pub(super) fn explore_all(name: &str, bounds: Bounds, served: u64) {
    let checker = explore(name, bounds, 1, None);
    assert_unbroken(name, &checker);
    for term in 1..=served {
        let wanted = format!("serving in term {term}");
        assert!(checker.discoveries().contains_key(wanted.as_str()), "{name}: nobody ever was {wanted}");
    }
}

/// Explores for a while, breadth first, what is too much to be explored to the end.
pub(super) fn explore_for(name: &str, bounds: Bounds, seconds: u64) {
    // The checker heeds the time only with more than one thread.
    assert_unbroken(name, &explore(name, bounds, 2, Some(seconds)));
}

/// Explores until `property` is broken.
pub(super) fn find(name: &str, bounds: Bounds, property: &str) {
    let checker = explore(name, bounds, 1, None);
    let broken = checker.discoveries().into_iter().find(|(found, _)| found.starts_with(property));
    let (property, path) = broken.unwrap_or_else(|| panic!("{name}: the planted bug was not found"));
    let steps = path.into_actions();
    println!("{name}: breaks {property} in {} steps", steps.len());
}
