//! Messages of a faulty member, with extreme values in every field, to a replica with the tables of
//! a real registry.

use proptest::prelude::*;
use serde::Serialize;

use super::super::local_tables::LocalTables;
use super::super::message::{Continuation, LogPosition, PullCursor, ReplicaMessage};
use super::super::registry_tables::RegistryTables;
use super::super::replica::{Action, Replica};
use super::world::{NODES, id};
use crate::presence::{HeartbeatId, ReplicatedClient, SeenAt};
use crate::registry::testing::replicated;
use crate::registry::{Registry, ReplicatedUser, Rows};
use rollcall_core::{Addr, BootMs, Page, Term, Username, WallMs};
use rollcall_election::MAX_PAYLOAD_BYTES;

/// The saved term of the replica while it gets the messages.
const TERM: Term = Term(5);

/// A user row as its bytes contain it, so that a test can set every field.
#[derive(Clone, Debug, Serialize)]
pub(in crate::replication) struct UserBytes {
    pub(in crate::replication) username: String,
    pub(in crate::replication) id: Vec<u8>,
    pub(in crate::replication) addr: Option<Addr>,
    pub(in crate::replication) registered_at: String,
    pub(in crate::replication) last_seen: Option<String>,
    pub(in crate::replication) metadata: String,
    pub(in crate::replication) credential: CredentialBytes,
}

/// The state of a password as its bytes contain it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::replication) enum CredentialBytes {
    Open,
    Unread(u64),
    Known(u64, u32, [u8; 16]),
}

/// Rows of these clients and users.
pub(in crate::replication) fn rows(clients: Vec<ReplicatedClient>, users: &[UserBytes]) -> Rows {
    let users = postcard::from_bytes(&postcard::to_stdvec(users).unwrap()).expect("the bytes of user rows");
    Rows { clients, users }
}

/// A user whose password has this state.
pub(in crate::replication) fn user(username: &str, credential: CredentialBytes) -> UserBytes {
    UserBytes {
        username: username.to_owned(),
        id: vec![7; 16],
        addr: None,
        registered_at: "2026-11-30T06:07:29Z".to_owned(),
        last_seen: None,
        metadata: String::new(),
        credential,
    }
}

/// A client with this last heartbeat.
pub(in crate::replication) fn client(username: &str, heartbeat_id: HeartbeatId) -> ReplicatedClient {
    ReplicatedClient {
        username: Username::parse(username).unwrap(),
        addr: Addr::new("10.0.0.1:9000".parse().unwrap()),
        heartbeat_id,
        age_ms: 10,
        leaderless_ms: 0,
        seen_at: SeenAt::Unknown,
    }
}

/// Small numbers, and those around the limits of a bound or of an integer type.
fn extreme() -> impl Strategy<Value = u64> {
    let edges = [16_u32, 31, 32, 47, 48, 53, 62, 63];
    prop_oneof![
        3 => 0..8_u64,
        2 => proptest::sample::select(edges.to_vec()).prop_flat_map(|bits| (1 << bits) - 2..=(1_u64 << bits) + 6),
        2 => u64::MAX - 3..=u64::MAX,
        1 => any::<u64>(),
    ]
}

fn extreme_wall() -> impl Strategy<Value = WallMs> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(-62_167_219_200_001),
        Just(253_402_300_800_000),
        Just(1_796_000_000_000),
        any::<i64>(),
    ]
    .prop_map(WallMs::new)
}

fn hostile_client() -> impl Strategy<Value = ReplicatedClient> {
    let seen_at = prop_oneof![
        Just(SeenAt::Unknown),
        extreme_wall().prop_map(SeenAt::Heard),
        extreme_wall().prop_map(SeenAt::Restored)
    ];
    ("[ab]", extreme(), extreme(), extreme(), extreme(), seen_at).prop_map(
        |(name, term, seq, age_ms, leaderless_ms, seen_at)| ReplicatedClient {
            age_ms,
            leaderless_ms,
            seen_at,
            ..client(&name, HeartbeatId::of(term, seq))
        },
    )
}

fn hostile_user() -> impl Strategy<Value = UserBytes> {
    let credential = prop_oneof![
        Just(CredentialBytes::Open),
        extreme().prop_map(CredentialBytes::Unread),
        (extreme(), prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], any::<[u8; 16]>())
            .prop_map(|(term, version, fingerprint)| CredentialBytes::Known(term, version, fingerprint)),
    ];
    let text = prop_oneof![4 => Just(0_usize), 1 => Just(31_usize), 1 => Just(40_000_usize)];
    ("[ab]", credential, text.clone(), text.clone(), text).prop_map(|(name, credential, at, seen, metadata)| {
        UserBytes {
            registered_at: "9".repeat(at),
            last_seen: Some("9".repeat(seen)),
            metadata: "{".repeat(metadata),
            ..user(&name, credential)
        }
    })
}

fn hostile_rows() -> impl Strategy<Value = Rows> {
    let clients = proptest::collection::vec(hostile_client(), 0..3);
    (clients, proptest::collection::vec(hostile_user(), 0..3)).prop_map(|(clients, users)| rows(clients, &users))
}

fn hostile_cursor() -> impl Strategy<Value = PullCursor> {
    let name = || proptest::option::of("[ab]".prop_map(|name| Username::parse(&name).unwrap()));
    prop_oneof![
        (extreme(), extreme()).prop_map(|(term, number)| PullCursor::Since(LogPosition { term: Term(term), number })),
        name().prop_map(PullCursor::Clients),
        name().prop_map(PullCursor::Users),
    ]
}

fn hostile_message() -> impl Strategy<Value = ReplicaMessage> {
    // Most messages have the term of the replica, so that they are not ignored because of the term.
    let term = || prop_oneof![3 => Just(TERM), 1 => extreme().prop_map(Term)];
    let next = prop_oneof![
        hostile_cursor().prop_map(Continuation::More),
        (any::<bool>(), proptest::option::of(term()))
            .prop_map(|(is_complete, leading_term)| Continuation::End { is_complete, leading_term }),
    ];
    prop_oneof![
        3 => (term(), extreme(), hostile_rows())
            .prop_map(|(term, number, rows)| ReplicaMessage::Batch { term, number, rows }),
        2 => (term(), extreme(), any::<bool>()).prop_map(|(term, last_batch, users_complete)| {
            ReplicaMessage::LeaderStatus { term, last_batch, users_complete }
        }),
        2 => (term(), extreme(), extreme()).prop_map(|(term, after, up_to)| ReplicaMessage::Ack { term, after, up_to }),
        1 => (extreme(), hostile_cursor())
            .prop_map(|(request_id, from)| ReplicaMessage::PullRequest { request_id, from }),
        3 => (extreme(), hostile_rows(), next)
            .prop_map(|(request_id, rows, next)| ReplicaMessage::PullResponse { request_id, rows, next }),
    ]
}

/// One replica with the tables of a registry. Node 0.
struct Node {
    registry: Registry,
    replica: Replica,
    now: BootMs,
    /// Ids of its unanswered pull requests.
    requests: Vec<u64>,
}

impl Node {
    /// A node that leads [`TERM`], or that follows no node yet.
    fn new(leads: bool) -> Self {
        let (registry, now) = (replicated(BootMs(0)), BootMs(1000));
        let mut replica = Replica::new(id(0), NODES, 0);
        replica.set_saved_term(Some(TERM));
        let mut node = Self { registry, replica, now, requests: Vec::new() };
        if leads {
            node.registry.begin_term(TERM);
            let (registry, now) = (node.registry.clone(), node.now);
            let mut tables = RegistryTables { registry: &registry, now };
            let actions = node.replica.start_leading(TERM, &mut tables, now);
            node.perform(actions);
        }
        node
    }

    fn tables(&self) -> (Registry, BootMs) {
        (self.registry.clone(), self.now)
    }

    fn handle(&mut self, from: usize, message: ReplicaMessage) -> Vec<Action> {
        let (registry, now) = self.tables();
        let mut tables = RegistryTables { registry: &registry, now };
        self.replica.handle_message(id(from), message, &mut tables, now)
    }

    /// Performs actions as the driver does. Every message must fit into a payload.
    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(_, message) => {
                    let bytes = message.encode().len();
                    assert!(bytes <= MAX_PAYLOAD_BYTES, "a message of {bytes} bytes");
                    if let ReplicaMessage::PullRequest { request_id, .. } = message {
                        self.requests.push(request_id);
                    }
                }
                Action::Confirm(up_to) => self.registry.confirm_majority(up_to),
                Action::RaiseClients(term, coverage) => self.registry.raise_clients(term, coverage),
                Action::RaiseUsers(term, coverage) => self.registry.raise_users(term, coverage),
                Action::LeaderHeard => self.registry.note_active_leader(self.now),
                Action::LogAbsurdValue(..) => {}
            }
        }
    }

    /// Time passes, and everything that shows the tables reads them.
    fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        let (registry, now) = self.tables();
        let actions = self.replica.tick(&mut RegistryTables { registry: &registry, now }, true, now);
        self.perform(actions);
        registry.tick(now);
        let _ = (registry.online(&Page::default(), now), registry.users(&Page::default(), now));
        let _ = (registry.users_version(now), registry.changes_since(0, now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_message_makes_a_replica_panic_and_later_correct_rows_win(
        leads in any::<bool>(),
        // The sender, the time before the message, the message, and whether it answers a request.
        messages in proptest::collection::vec((1..NODES, 0..700_u64, hostile_message(), any::<bool>()), 1..40),
    ) {
        let mut node = Node::new(leads);
        for (from, ms, mut message, answers) in messages {
            if let (ReplicaMessage::PullResponse { request_id, .. }, true) = (&mut message, answers) {
                *request_id = node.requests.pop().unwrap_or(*request_id);
            }
            let decoded = ReplicaMessage::decode(&message.encode()).expect("a message");
            let actions = node.handle(from, decoded);
            node.perform(actions);
            node.tick(ms);
        }
        // Node 1 is correct. It leads the next term, in which a heartbeat and a password arrive.
        let next = TERM.next();
        let (registry, now) = node.tables();
        let mut tables = RegistryTables { registry: &registry, now };
        node.replica.follow(&mut tables);
        registry.end_replication(TERM);
        node.replica.set_saved_term(Some(next));
        let id_of_heartbeat = HeartbeatId::of(next.0, 1);
        let correct = rows(
            vec![client("a", id_of_heartbeat)],
            &[user("a", CredentialBytes::Known(next.0, 3, [9; 16]))],
        );
        let row = correct.users[0].clone();
        let actions = node.handle(1, ReplicaMessage::Batch { term: next, number: 1, rows: correct });
        let acknowledges = |action: &Action| {
            matches!(action, Action::Send(_, ReplicaMessage::Ack { term, up_to: 1, .. }) if *term == next)
        };
        prop_assert!(actions.iter().any(acknowledges), "{actions:?}");
        node.perform(actions);
        let clients = tables.clients_after(None).clients;
        let known = clients.iter().find(|client| client.username.as_str() == "a").map(|client| client.heartbeat_id);
        prop_assert_eq!(known, Some(id_of_heartbeat));
        prop_assert!(registry.online(&Page::default(), now).iter().any(|row| row.username.as_str() == "a"));
        let users = tables.users_after(None).users;
        let known = users.iter().find(|user| user.username.as_str() == "a").map(ReplicatedUser::credential);
        prop_assert_eq!(known, Some(row.credential()));
    }
}
