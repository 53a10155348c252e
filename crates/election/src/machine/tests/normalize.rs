//! `Machine::normalized`: the state without absolute times.

use super::*;

#[test]
fn a_normalized_machine_keeps_its_promises_and_drops_expired_ones() {
    let (now, mut passed) = (BootMs(9000), [0; MAX_NODES]);
    let mut machine = Machine::new(defaults(0, 3), BootId(1), Some(Ballot::default()), BootMs(0));
    machine.handle(received(1, Message::Heartbeat { term: Term(5), sent_at: BootMs(1) }), now, Entropy(0));
    machine.handle(Event::BallotSaved(Ballot { term: Term(5), voted_for: None }), now, Entropy(0));
    passed[0] = 3000;
    let with_promise = machine.normalized(now, &passed);
    assert_eq!(with_promise.node.following.promise.map(|promise| promise.until), Some(now.plus(1)));
    passed[0] = 3001;
    assert_eq!(machine.normalized(now, &passed).node.following.promise, None);
    passed[0] = 5000;
    let without_promise = machine.normalized(now, &passed);
    passed[0] = 8000;
    assert_eq!(machine.normalized(now, &passed), without_promise, "the time since its end makes no difference");
}
