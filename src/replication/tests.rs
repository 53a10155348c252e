//! Replicas on a network that loses, delays and reorders messages, with changing leaders.

mod bounds;
mod hostile;
mod world;

use proptest::prelude::*;

use self::world::{NODES, Step, World, id};
use super::message::{PullCursor, ReplicaMessage};
use super::replica::Action;
use rollcall_core::Username;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<usize>().prop_map(Step::Deliver),
        3 => any::<u8>().prop_map(Step::Drop),
        6 => Just(Step::Register),
        4 => any::<usize>().prop_map(Step::ChangePassword),
        4 => (1_u64..400).prop_map(Step::Tick),
        3 => any::<u8>().prop_map(Step::Elect),
        2 => any::<u8>().prop_map(Step::LearnTerm),
        1 => any::<u8>().prop_map(Step::Kill),
        2 => any::<u8>().prop_map(Step::Start),
        2 => Just(Step::Settle),
        1 => Just(Step::ReadBucket),
    ];
    proptest::collection::vec(step, 20..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Invariant I5 under lost, delayed and reordered messages, and under restarts.
    #[test]
    fn a_leader_with_a_complete_list_has_every_acknowledged_registration(steps in steps()) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
    }

    #[test]
    fn once_no_message_is_lost_every_follower_may_take_over(steps in steps(), leader in 0..NODES) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
        world.nodes.iter_mut().for_each(|node| node.up = true);
        world.elect(leader);
        (0..NODES).filter(|node| *node != leader).for_each(|node| world.step(&Step::LearnTerm(id(node).0)));
        world.settle(100);
        if !world.leader_has_list {
            world.read_bucket();
        }
        world.register();
        world.settle(100);
        prop_assert!(!world.acknowledged.is_empty());
        prop_assert!(world.unconfirmed.is_empty(), "not confirmed: {:?}", world.unconfirmed);
        for (index, node) in world.nodes.iter().enumerate() {
            // Registrations that were never acknowledged may be on only some nodes until a leader
            // reads the bucket.
            let missing: Vec<&Username> =
                world.acknowledged.iter().filter(|name| !node.tables.users.contains_key(*name)).collect();
            prop_assert!(missing.is_empty(), "node {} does not know {:?}", index, missing);
            prop_assert!(node.tables.is_complete);
            prop_assert_eq!(node.replica.may_take_over(), index != leader);
        }
        // The next leader takes over without the bucket.
        let (next, before) = ((leader + 1) % NODES, world.lists_without_bucket);
        world.elect(next);
        (0..NODES).filter(|node| *node != next).for_each(|node| world.step(&Step::LearnTerm(id(node).0)));
        world.settle(100);
        prop_assert_eq!(world.lists_without_bucket, before + 1);
    }
}

#[test]
fn a_stalled_follower_may_not_take_over_until_it_has_pulled_everything_again() {
    let mut world = World::settled();
    let may_take_over = |world: &World, node: usize| world.nodes[node].replica.may_take_over();
    assert!(may_take_over(&world, 1) && may_take_over(&world, 2));
    for (passed, stalled) in [(900, false), (1100, true)] {
        world.now = world.now.plus(passed);
        let node = &mut world.nodes[1];
        let actions = node.replica.tick(&mut node.tables, false, world.now);
        let pulls_everything = actions.iter().any(|action| {
            let everything = |message: &ReplicaMessage| {
                matches!(message, ReplicaMessage::PullRequest { from: PullCursor::Clients(None), .. })
            };
            matches!(action, Action::Send(_, message) if everything(message))
        });
        assert_eq!((pulls_everything, may_take_over(&world, 1)), (stalled, !stalled), "after {passed} ms");
        world.perform(1, actions);
    }
    world.settle(20);
    assert!(may_take_over(&world, 1));
}

/// A response to an earlier process of a node may reach the next process. Different request ids
/// keep the responses apart.
#[test]
fn a_restarted_process_reuses_no_request_id() {
    let mut world = World::settled();
    let mut seen_ids = std::collections::HashSet::new();
    for _ in 0..3 {
        world.restart(&[1]);
        world.in_flight.clear();
        world.elect(1);
        let requests: Vec<u64> = world
            .in_flight
            .iter()
            .filter_map(|(from, _, _, message)| match message {
                ReplicaMessage::PullRequest { request_id, .. } if *from == id(1) => Some(*request_id),
                _ => None,
            })
            .collect();
        assert_eq!(requests.len(), NODES - 1);
        assert!(requests.iter().all(|request_id| seen_ids.insert(*request_id)), "ids were used before: {requests:?}");
    }
}

#[test]
fn a_catch_up_continues_when_batches_are_missed_meanwhile() {
    let mut world = World::settled();
    (0..9).for_each(|_| world.register());
    world.kill(1);
    world.settle(5);
    world.nodes[1].up = true;
    world.tick(400);
    let mut pulls_from_the_start = 0;
    for round in 0..600 {
        world.tick(50);
        if round % 3 == 0 {
            world.register();
        }
        // One response arrives per round, and all batches to the node are lost during the catch-up.
        let mut responses = 0;
        for (from, to, boot, message) in std::mem::take(&mut world.in_flight) {
            pulls_from_the_start += usize::from(
                from.0 == 1 && matches!(message, ReplicaMessage::PullRequest { from: PullCursor::Clients(None), .. }),
            );
            responses += usize::from(to.0 == 1 && matches!(message, ReplicaMessage::PullResponse { .. }));
            if to.0 == 1 && responses > 1 {
                world.in_flight.push((from, to, boot, message));
            } else if to.0 != 1
                || !matches!(message, ReplicaMessage::Batch { .. })
                || world.nodes[1].replica.may_take_over()
            {
                world.deliver(from, to, boot, message);
            }
        }
        if world.nodes[1].replica.may_take_over() {
            break;
        }
    }
    assert!(world.nodes[1].replica.may_take_over(), "the catch-up has not ended");
    assert_eq!(pulls_from_the_start, 1);
    world.settle(5);
    let users = |node: usize| world.nodes[node].tables.users.keys().collect::<Vec<_>>();
    assert_eq!(users(1), users(0));
}

/// A cluster that has just started: no leader has read the bucket yet.
#[test]
fn a_follower_of_a_leader_without_a_complete_list_serves_no_stale_users() {
    let mut world = World::new();
    world.elect(0);
    (1..NODES).for_each(|node| world.step(&Step::LearnTerm(id(node).0)));
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(freshness.clients_up_to_date_at.is_some_and(|at| world.now.since(at) < 400), "{freshness:?}");
        assert_eq!(freshness.users_complete_at, None);
    }
    world.read_bucket();
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(
            freshness.users_complete_at.is_some() && freshness.users_complete_at == freshness.clients_up_to_date_at,
            "{freshness:?}"
        );
    }
    // The next leader cannot claim a complete list until a majority has reported.
    let before = world.nodes[2].replica.freshness().users_complete_at;
    world.elect(1);
    world.step(&Step::LearnTerm(2));
    world.tick(50);
    assert_eq!(world.nodes[2].replica.freshness().users_complete_at, before);
    assert_eq!(world.nodes[1].replica.freshness().users_complete_at, before);
}

#[test]
fn a_restarted_leader_waits_for_the_report_of_a_complete_node() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.clients_raised.clear();
    world.elect(1);
    // The two restarted nodes are a majority, but have empty tables.
    world.exchange(1, 2);
    assert_eq!(world.clients_raised, []);
    world.exchange(1, 0);
    assert_eq!(world.clients_raised, [(1, world.term)]);
}

#[test]
fn a_new_leader_answers_once_a_majority_with_a_complete_node_has_reported() {
    let mut world = World::settled();
    world.restart(&[1]);
    world.kill(0);
    world.clients_raised.clear();
    world.elect(1);
    world.exchange(1, 2);
    assert_eq!(world.clients_raised, [(1, world.term)]);
}

#[test]
fn without_a_complete_node_a_new_leader_waits_for_all_reports_or_one_second() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.kill(0);
    world.clients_raised.clear();
    world.elect(1);
    world.exchange(1, 2);
    world.tick(999);
    assert_eq!(world.clients_raised, []);
    world.tick(1);
    assert_eq!(world.clients_raised, [(1, world.term)]);
    world.tick(100);
    world.exchange(1, 2);
    assert_eq!(world.clients_raised.len(), 1, "raised only once");

    let mut world = World::new();
    world.elect(0);
    world.exchange(0, 1);
    assert_eq!(world.clients_raised, []);
    world.exchange(0, 2);
    assert_eq!(world.clients_raised, [(0, world.term)]);
}

#[test]
fn a_leader_that_was_up_to_date_has_the_clients_at_once() {
    let mut world = World::settled();
    world.clients_raised.clear();
    world.elect(1);
    assert_eq!(world.clients_raised, [(1, world.term)]);
    world.exchange(1, 0);
    world.tick(1000);
    assert_eq!(world.clients_raised.len(), 1, "raised only once");
}
