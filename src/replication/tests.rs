//! Replicas that talk over a network that loses, delays and reorders, and lead in turn.

mod world;

use proptest::prelude::*;

use self::world::{NODES, Step, World, id};
use super::message::{Cursor, ReplicaMessage};
use super::replica::Action;
use rollcall_core::Username;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<usize>().prop_map(Step::Deliver),
        3 => any::<u8>().prop_map(Step::Lose),
        6 => Just(Step::Register),
        4 => (1_u64..400).prop_map(Step::Tick),
        3 => any::<u8>().prop_map(Step::Elect),
        2 => any::<u8>().prop_map(Step::Learn),
        1 => any::<u8>().prop_map(Step::Kill),
        2 => any::<u8>().prop_map(Step::Start),
        2 => Just(Step::Settle),
        1 => Just(Step::List),
    ];
    proptest::collection::vec(step, 20..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// I5, with everything that a network and processes can do to it.
    #[test]
    fn a_leader_whose_list_is_whole_knows_every_acknowledged_registration(steps in steps()) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
    }

    #[test]
    fn once_nothing_is_lost_everybody_is_ready_to_lead(steps in steps(), leader in 0..NODES) {
        let mut world = World::settled();
        for step in &steps {
            world.step(step);
        }
        world.nodes.iter_mut().for_each(|node| node.up = true);
        world.elect(leader);
        (0..NODES).filter(|node| *node != leader).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.settle(100);
        if !world.leader_lists {
            world.list();
        }
        world.register();
        world.settle(100);
        prop_assert!(!world.acknowledged.is_empty());
        prop_assert!(world.waiting.is_empty(), "not confirmed: {:?}", world.waiting);
        for (place, node) in world.nodes.iter().enumerate() {
            // What was never acknowledged may be known to some only, until a leader reads the bucket.
            let missing: Vec<&Username> =
                world.acknowledged.iter().filter(|name| !node.tables.users.contains_key(*name)).collect();
            prop_assert!(missing.is_empty(), "node {} does not know {:?}", place, missing);
            prop_assert!(node.tables.was_complete);
            prop_assert_eq!(node.replica.may_take_over(), place != leader);
        }
        // The next one takes over without the bucket.
        let (next, before) = ((leader + 1) % NODES, world.lists_by_others);
        world.elect(next);
        (0..NODES).filter(|node| *node != next).for_each(|node| world.step(&Step::Learn(id(node).0)));
        world.settle(100);
        prop_assert_eq!(world.lists_by_others, before + 1);
    }
}

#[test]
fn a_follower_that_did_not_run_for_a_while_is_not_ready_until_it_was_told_everything_again() {
    let mut world = World::settled();
    let may_take_over = |world: &World, node: usize| world.nodes[node].replica.may_take_over();
    assert!(may_take_over(&world, 1) && may_take_over(&world, 2));
    for (passed, stalled) in [(900, false), (1100, true)] {
        world.now = world.now.plus(passed);
        let node = &mut world.nodes[1];
        let actions = node.replica.tick(&mut node.tables, false, world.now);
        let asks = actions.iter().any(|action| {
            let everything = |message: &ReplicaMessage| {
                matches!(message, ReplicaMessage::PullRequest { from: Cursor::Clients(None), .. })
            };
            matches!(action, Action::Send(_, message) if everything(message))
        });
        assert_eq!((asks, may_take_over(&world, 1)), (stalled, !stalled), "after {passed} ms");
        world.perform(1, actions);
    }
    world.settle(20);
    assert!(may_take_over(&world, 1));
}

/// The answer to a question of the process that was this node before may come to the next one.
#[test]
fn a_process_that_is_started_anew_asks_nothing_with_a_number_of_the_one_before() {
    let mut world = World::settled();
    let mut asked = std::collections::HashSet::new();
    for _ in 0..3 {
        world.restart(&[1]);
        world.under_way.clear();
        world.elect(1);
        let asks: Vec<u64> = world
            .under_way
            .iter()
            .filter_map(|(from, _, _, message)| match message {
                ReplicaMessage::PullRequest { request_id, .. } if *from == id(1) => Some(*request_id),
                _ => None,
            })
            .collect();
        assert_eq!(asks.len(), NODES - 1);
        assert!(asks.iter().all(|ask| asked.insert(*ask)), "{asks:?} again");
    }
}

#[test]
fn batches_that_are_missed_while_a_node_pulls_everything_do_not_make_it_begin_again() {
    let mut world = World::settled();
    (0..9).for_each(|_| world.register());
    world.kill(1);
    world.settle(5);
    world.nodes[1].up = true;
    world.tick(400);
    let mut from_the_start = 0;
    for round in 0..600 {
        world.tick(50);
        if round % 3 == 0 {
            world.register();
        }
        // It is told one row at a time, and the leader's batches to it are lost as long as it pulls.
        let mut parts = 0;
        for (from, to, boot, message) in std::mem::take(&mut world.under_way) {
            from_the_start += usize::from(
                from.0 == 1 && matches!(message, ReplicaMessage::PullRequest { from: Cursor::Clients(None), .. }),
            );
            parts += usize::from(to.0 == 1 && matches!(message, ReplicaMessage::PullResponse { .. }));
            if to.0 == 1 && parts > 1 {
                world.under_way.push((from, to, boot, message));
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
    assert!(world.nodes[1].replica.may_take_over(), "it comes to an end");
    assert_eq!(from_the_start, 1);
    world.settle(5);
    let users = |node: usize| world.nodes[node].tables.users.keys().collect::<Vec<_>>();
    assert_eq!(users(1), users(0));
}

/// A cluster that was just started: nobody has listed the bucket yet.
#[test]
fn a_copy_of_a_leader_whose_list_is_not_whole_is_none_of_all_users() {
    let mut world = World::new();
    world.elect(0);
    (1..NODES).for_each(|node| world.step(&Step::Learn(id(node).0)));
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(freshness.clients_up_to_date_at.is_some_and(|at| world.now.since(at) < 400), "{freshness:?}");
        assert_eq!(freshness.users_complete_at, None);
    }
    world.list();
    world.settle(20);
    for node in &world.nodes {
        let freshness = node.replica.freshness();
        assert!(
            freshness.users_complete_at.is_some() && freshness.users_complete_at == freshness.clients_up_to_date_at,
            "{freshness:?}"
        );
    }
    // The next leader does not know whether its list is whole until a majority has told it.
    let before = world.nodes[2].replica.freshness().users_complete_at;
    world.elect(1);
    world.step(&Step::Learn(2));
    world.tick(50);
    assert_eq!(world.nodes[2].replica.freshness().users_complete_at, before);
    assert_eq!(world.nodes[1].replica.freshness().users_complete_at, before);
}

#[test]
fn a_new_leader_that_knows_nobody_waits_for_a_node_that_may_know_somebody() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.clients_learned.clear();
    world.elect(1);
    // Who was started just now has nothing to tell, though they are a majority.
    world.talk(1, 2);
    assert_eq!(world.clients_learned, []);
    world.talk(1, 0);
    assert_eq!(world.clients_learned, [(1, world.term)]);
}

#[test]
fn a_new_leader_waits_for_nobody_once_a_majority_with_a_complete_node_has_told() {
    let mut world = World::settled();
    world.restart(&[1]);
    world.kill(0);
    world.clients_learned.clear();
    world.elect(1);
    world.talk(1, 2);
    assert_eq!(world.clients_learned, [(1, world.term)]);
}

#[test]
fn a_new_leader_waits_a_second_for_nodes_that_do_not_tell_and_all_tell_at_a_first_start() {
    let mut world = World::settled();
    world.restart(&[1, 2]);
    world.kill(0);
    world.clients_learned.clear();
    world.elect(1);
    world.talk(1, 2);
    world.tick(999);
    assert_eq!(world.clients_learned, []);
    world.tick(1);
    assert_eq!(world.clients_learned, [(1, world.term)]);
    world.tick(100);
    world.talk(1, 2);
    assert_eq!(world.clients_learned.len(), 1, "it is said once");

    let mut world = World::new();
    world.elect(0);
    world.talk(0, 1);
    assert_eq!(world.clients_learned, []);
    world.talk(0, 2);
    assert_eq!(world.clients_learned, [(0, world.term)]);
}

#[test]
fn a_leader_that_was_in_step_knows_at_once_who_is_online() {
    let mut world = World::settled();
    world.clients_learned.clear();
    world.elect(1);
    assert_eq!(world.clients_learned, [(1, world.term)]);
    world.talk(1, 0);
    world.tick(1000);
    assert_eq!(world.clients_learned.len(), 1, "it is said once");
}
