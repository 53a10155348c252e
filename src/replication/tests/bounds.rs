//! Each bound on a message: what is ignored, what is kept, and what is logged.

use super::super::bounds::MessageBounds;
use super::super::message::{Continuation, LogPosition, PullCursor, ReplicaMessage};
use super::super::replica::Action;
use super::hostile::{CredentialBytes, client, rows, user};
use super::world::{NODES, World, id};
use crate::presence::{HeartbeatId, ReplicatedClient, SeenAt};
use crate::registry::{AbsurdValue, Rows};
use rollcall_core::{BootMs, Term, WallMs};

const SAVED: Term = Term(5);
const MAX_BATCHES: u64 = 1 << 48;

fn bounds() -> MessageBounds {
    let mut bounds = MessageBounds::default();
    bounds.note_saved_term(SAVED);
    // After a failed write there may be no ballot.
    bounds.note_saved_term(Term(0));
    bounds
}

fn admit(message: ReplicaMessage) -> (Option<ReplicaMessage>, Option<AbsurdValue>) {
    bounds().admit(id(1), message, BootMs(0))
}

fn batch(rows: Rows) -> ReplicaMessage {
    ReplicaMessage::Batch { term: SAVED, number: 1, rows }
}

/// The rows of a batch that are kept, and what is logged.
fn kept(rows: Rows) -> (Rows, Option<AbsurdValue>) {
    match admit(batch(rows)) {
        (Some(ReplicaMessage::Batch { rows, .. }), logged) => (rows, logged),
        other => panic!("the message is ignored: {other:?}"),
    }
}

fn absurd(field: &'static str, value: impl Into<i128>) -> AbsurdValue {
    AbsurdValue { field, value: value.into() }
}

#[test]
fn a_message_is_ignored_if_a_number_in_it_is_above_its_bound() {
    let (limit, far) = (SAVED.limit(), SAVED.limit().next());
    let since = |term, number| PullCursor::Since(LogPosition { term, number });
    let request = |from| ReplicaMessage::PullRequest { request_id: u64::MAX, from };
    let response = |next| ReplicaMessage::PullResponse { request_id: u64::MAX, rows: Rows::default(), next };
    let end = |term| response(Continuation::End { is_complete: true, leading_term: Some(term) });
    let status = |term, last_batch| ReplicaMessage::LeaderStatus { term, last_batch, users_complete: true };
    let numbered = |term, number| ReplicaMessage::Batch { term, number, rows: Rows::default() };
    let ack = |term, after, up_to| ReplicaMessage::Ack { term, after, up_to };
    for (accepted, ignored, field, value) in [
        (numbered(limit, 1), numbered(far, 1), "term", far.0),
        (numbered(SAVED, MAX_BATCHES), numbered(SAVED, MAX_BATCHES + 1), "number", MAX_BATCHES + 1),
        (status(limit, 1), status(far, 1), "term", far.0),
        (status(SAVED, MAX_BATCHES), status(SAVED, u64::MAX), "last_batch", u64::MAX),
        (ack(limit, 0, 1), ack(far, 0, 1), "term", far.0),
        (ack(SAVED, MAX_BATCHES, MAX_BATCHES), ack(SAVED, MAX_BATCHES + 1, 0), "after", MAX_BATCHES + 1),
        (ack(SAVED, 0, MAX_BATCHES), ack(SAVED, 0, u64::MAX), "up_to", u64::MAX),
        (request(since(limit, 1)), request(since(far, 1)), "cursor.term", far.0),
        (request(since(SAVED, MAX_BATCHES)), request(since(SAVED, u64::MAX)), "cursor.number", u64::MAX),
        (
            response(Continuation::More(since(limit, MAX_BATCHES))),
            response(Continuation::More(since(far, 1))),
            "cursor.term",
            far.0,
        ),
        (end(limit), end(far), "leading_term", far.0),
    ] {
        assert_eq!(admit(accepted.clone()), (Some(accepted), None));
        assert_eq!(admit(ignored.clone()), (None, Some(absurd(field, value))), "{ignored:?}");
    }
}

#[test]
fn a_message_with_more_rows_than_a_node_can_send_is_ignored() {
    let many = |count: usize| {
        let one = Rows::of_user(rollcall_core::Username::parse("alice").unwrap());
        let mut rows = Rows::default();
        (0..count).for_each(|_| rows.extend(&one));
        rows
    };
    let most = (Rows::MAX_BYTES + Rows::MAX_ROW_BYTES) / many(1).size();
    assert_eq!(admit(batch(many(most))), (Some(batch(many(most))), None));
    let (message, logged) = admit(batch(many(most + 1)));
    assert_eq!((message, logged.map(|absurd| absurd.field)), (None, Some("rows")));
}

#[test]
fn a_row_of_a_client_is_removed_if_a_value_in_it_is_above_its_bound() {
    let far = SAVED.limit().next().0;
    let seen = |seen_at| ReplicatedClient { seen_at, ..client("alice", HeartbeatId::of(SAVED.0, 1)) };
    let (last_year, too_late, too_early) = (253_402_300_799_999_i64, 253_402_300_800_000, -62_167_219_200_001);
    let restored = |term| ReplicatedClient {
        seen_at: SeenAt::Restored(WallMs::new(0)),
        ..client("alice", HeartbeatId::of(term, 1))
    };
    for accepted in [
        client("alice", HeartbeatId::of(SAVED.0, HeartbeatId::MAX_SEQ)),
        seen(SeenAt::Heard(WallMs::new(last_year))),
        // Any heartbeat replaces it.
        restored(SAVED.limit().0),
        // A client that is offline.
        ReplicatedClient { age_ms: u64::MAX, leaderless_ms: u64::MAX, ..seen(SeenAt::Unknown) },
    ] {
        let rows = rows(vec![accepted], &[]);
        assert_eq!(kept(rows.clone()), (rows, None));
    }
    for (removed, logged) in [
        (client("alice", HeartbeatId::of(far, 1)), Some(absurd("heartbeat_id.term", far))),
        (restored(far), Some(absurd("heartbeat_id.term", far))),
        (
            client("alice", HeartbeatId::of(1, HeartbeatId::MAX_SEQ + 1)),
            Some(absurd("heartbeat_id.seq", (1_u64 << 48) + 1)),
        ),
        (seen(SeenAt::Heard(WallMs::new(too_late))), Some(absurd("seen_at", too_late))),
        (seen(SeenAt::Restored(WallMs::new(too_early))), Some(absurd("seen_at", too_early))),
        // It is not absurd: this node has not saved the term yet. The row comes again.
        (client("alice", HeartbeatId::of(SAVED.0 + 1, 1)), None),
    ] {
        let other = client("bob", HeartbeatId::of(SAVED.0, 1));
        let expected = rows(vec![other.clone()], &[]);
        assert_eq!(kept(rows(vec![removed.clone(), other], &[])), (expected, logged), "{removed:?}");
    }
}

#[test]
fn a_user_with_a_password_of_a_later_term_is_kept_and_the_password_must_be_read() {
    let far = SAVED.limit().next().0;
    let known = |term| CredentialBytes::Known(term, 1, [1; 16]);
    let unread = rows(Vec::new(), &[user("alice", CredentialBytes::Unread(SAVED.0))]);
    for (credential, logged) in [
        (known(SAVED.0 + 1), None),
        (CredentialBytes::Unread(SAVED.0 + 1), None),
        (known(far), Some(absurd("credential.term", far))),
        (CredentialBytes::Unread(u64::MAX), Some(absurd("credential.term", u64::MAX))),
    ] {
        assert_eq!(kept(rows(Vec::new(), &[user("alice", credential)])), (unread.clone(), logged));
    }
    for credential in [CredentialBytes::Open, CredentialBytes::Unread(SAVED.0), known(SAVED.0)] {
        let rows = rows(Vec::new(), &[user("alice", credential)]);
        assert_eq!(kept(rows.clone()), (rows, None));
    }
}

#[test]
fn a_user_with_a_longer_text_than_any_profile_is_removed() {
    let text = |length: usize| "9".repeat(length);
    let alice = || user("alice", CredentialBytes::Open);
    for (field, length) in [("registered_at", 31), ("last_seen", 31), ("metadata", 16 * 1024 + 1)] {
        for is_kept in [true, false] {
            let length = length - usize::from(is_kept);
            let mut row = alice();
            match field {
                "registered_at" => row.registered_at = text(length),
                "last_seen" => row.last_seen = Some(text(length)),
                _ => row.metadata = text(length),
            }
            let (rows, logged) = kept(rows(Vec::new(), &[row]));
            let expected = if is_kept { None } else { Some(absurd(field, i128::try_from(length).unwrap())) };
            assert_eq!((rows.users.len(), logged), (usize::from(is_kept), expected), "{field}");
        }
    }
}

#[test]
fn absurd_values_of_a_node_are_logged_once_a_minute() {
    let mut bounds = bounds();
    let mut is_logged = |node, ms| {
        let message = ReplicaMessage::Ack { term: SAVED, after: 0, up_to: u64::MAX };
        bounds.admit(id(node), message, BootMs(ms)).1.is_some()
    };
    assert!(is_logged(1, 0) && !is_logged(1, 1) && is_logged(2, 1));
    assert!(!is_logged(1, 59_999) && is_logged(1, 60_000) && !is_logged(2, 60_000));
}

#[test]
fn an_acknowledgement_of_batches_that_were_not_sent_counts_for_nothing_and_is_logged() {
    let mut world = World::settled();
    world.kill(1);
    world.kill(2);
    world.in_flight.clear();
    world.register();
    let term = world.term;
    let last_batch = world.in_flight.iter().find_map(|(.., message)| match message {
        ReplicaMessage::Batch { number, .. } => Some(*number),
        _ => None,
    });
    let last_batch = last_batch.expect("the registration is sent");
    for (up_to, is_logged) in [(u64::MAX, true), (last_batch + 1, false), (last_batch, false)] {
        assert!(!world.unconfirmed.is_empty(), "no follower has the row");
        let now = world.now;
        let node = &mut world.nodes[0];
        let ack = ReplicaMessage::Ack { term, after: 0, up_to };
        let actions = node.replica.handle_message(id(NODES - 1), ack, &mut node.tables, now);
        let logs = |action: &Action| matches!(action, Action::LogAbsurdValue(node, AbsurdValue { field: "up_to", .. }) if *node == id(2));
        assert_eq!(actions.iter().any(logs), is_logged, "one line a minute: {actions:?}");
        let confirms = actions.into_iter().filter(|action| matches!(action, Action::Confirm(_))).collect();
        world.perform(0, confirms);
    }
    assert!(world.unconfirmed.is_empty(), "a majority has the row");
}
