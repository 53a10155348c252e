//! How much of the registry a node has: one scale for both tables, and one list of permissions.
//!
//! A node has two tables: the users (everybody who registered) and the clients (everybody who is
//! online). [`Coverage`] says how much of one table the node has within a term. Code asks for a
//! permission and compares no coverages. These are the permissions, and the states that give them:
//!
//! | permission | of | `Partial` | `UpToDate` | `Complete` | `Certain` |
//! |---|---|---|---|---|---|
//! | [`may_answer_online`]: lists of clients, from the leader | clients | no | yes | yes | yes |
//! | [`may_serve_stale_online`]: the same, as a copy | clients | no | yes | yes | yes |
//! | [`may_list_users`]: `/users`, from the leader | users | no | no | yes | yes |
//! | [`may_serve_stale_users`]: the same, as a copy | users | no | no | yes | yes |
//! | [`may_take_over`]: chosen at a handover | users | no | no | yes | yes |
//! | [`may_claim_complete`]: to others, who pull | users | no | no | yes | yes |
//! | [`may_trust_passwords`]: tokens, from memory | users | no | no | no | yes |
//!
//! OnlineClients have no states above `UpToDate`: what a dead leader heard last may have died with it, and
//! the next heartbeats bring it back. Two permissions outlast the state that gave them:
//!
//! * *May claim complete* holds until the process ends: see [`TermCoverage::may_claim_complete`].
//!   The node has every registration of before, and each later one to whose majority it belonged.
//!   So a majority of such nodes has all registrations that were ever acknowledged.
//! * A *stale copy* is served with its age, which counts from the last moment of the state.
//!
//! [`may_answer_online`]: Coverage::may_answer_online
//! [`may_serve_stale_online`]: Coverage::may_serve_stale_online
//! [`may_list_users`]: Coverage::may_list_users
//! [`may_serve_stale_users`]: Coverage::may_serve_stale_users
//! [`may_take_over`]: Coverage::may_take_over
//! [`may_claim_complete`]: Coverage::may_claim_complete
//! [`may_trust_passwords`]: Coverage::may_trust_passwords

use rollcall_core::Term;

/// How much of one table a node has within a term. A greater one includes the smaller ones.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Coverage {
    /// Rows may be missing that other nodes have.
    #[default]
    Partial,
    /// A follower has all that its leader had and told. A leader has all that a node could tell it.
    /// Both may lack rows that no node of the term told yet.
    UpToDate,
    /// Of users only: no registration is missing that was acknowledged before the term. The latest
    /// password of a user may have to be read from the bucket.
    Complete,
    /// Of users only: a majority of complete nodes told all that they have, so each password
    /// fingerprint here is the latest one.
    Certain,
}

impl Coverage {
    /// The leader answers who is online: `/discover`, `/discovery/online` and their pictures.
    #[must_use]
    pub fn may_answer_online(self) -> bool {
        self >= Self::UpToDate
    }

    /// A follower answers who is online from its copy.
    #[must_use]
    pub fn may_serve_stale_online(self) -> bool {
        self >= Self::UpToDate
    }

    /// The leader answers who is registered: `/users`.
    #[must_use]
    pub fn may_list_users(self) -> bool {
        self >= Self::Complete
    }

    /// A follower answers who is registered from its copy.
    #[must_use]
    pub fn may_serve_stale_users(self) -> bool {
        self >= Self::Complete
    }

    /// A follower can be chosen at a handover: it need not ask or read anything first.
    #[must_use]
    pub fn may_take_over(self) -> bool {
        self >= Self::Complete
    }

    /// A node tells others that what they pull from it is complete. Once given, this stays.
    #[must_use]
    pub fn may_claim_complete(self) -> bool {
        self >= Self::Complete
    }

    /// A token is judged by the password fingerprint in memory, without a read of the bucket.
    #[must_use]
    pub fn may_trust_passwords(self) -> bool {
        self >= Self::Certain
    }

    /// What a follower has that has everything its leader had and told, if the leader has `leader`.
    #[must_use]
    pub fn in_sync_with(leader: Self) -> Self {
        leader.max(Self::UpToDate)
    }

    /// The users that a leader has, from the bit `whole` in its pulse.
    #[must_use]
    pub fn from_complete_bit(whole: bool) -> Self {
        if whole { Self::Complete } else { Self::Partial }
    }

    /// The bit `whole` in the pulse of a leader that has these users.
    #[must_use]
    pub fn complete_bit(self) -> bool {
        self >= Self::Complete
    }
}

/// How much of both tables a node has in one term, and whether it was complete.
///
/// Invariant: within a term neither coverage falls. A node that was complete once stays so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TermCoverage {
    term: Term,
    users: Coverage,
    clients: Coverage,
    was_complete: bool,
}

impl TermCoverage {
    /// How much of the users the node has in `term`.
    #[must_use]
    pub fn users_in(&self, term: Term) -> Coverage {
        if term == self.term { self.users } else { Coverage::Partial }
    }

    /// How much of the clients the node has in `term`.
    #[must_use]
    pub fn clients_in(&self, term: Term) -> Coverage {
        if term == self.term { self.clients } else { Coverage::Partial }
    }

    /// Whether a later term than `term` has begun.
    #[must_use]
    pub fn is_after(&self, term: Term) -> bool {
        self.term > term
    }

    /// Whether the node has had, at some moment since its process started, every registration that
    /// was acknowledged until then.
    #[must_use]
    pub fn may_claim_complete(&self) -> bool {
        self.was_complete
    }

    /// Begins a later term, in which both tables are partial. Another term changes nothing.
    pub fn begin_term(&mut self, term: Term) {
        if term > self.term {
            *self = Self { term, was_complete: self.was_complete, ..Self::default() };
        }
    }

    /// Notes that the node has at least so much of the users in `term`, unless that is over.
    pub fn raise_users(&mut self, term: Term, coverage: Coverage) {
        self.begin_term(term);
        if term == self.term {
            self.users = self.users.max(coverage);
            self.was_complete |= coverage.may_claim_complete();
        }
    }

    /// Notes that the node has at least so much of the clients in `term`, unless that is over.
    pub fn raise_clients(&mut self, term: Term, coverage: Coverage) {
        self.begin_term(term);
        if term == self.term {
            self.clients = self.clients.max(coverage);
        }
    }

    /// Notes that the node has every registration that was acknowledged until now.
    pub fn note_complete(&mut self) {
        self.was_complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::Coverage::{Certain, Complete, Partial, UpToDate};
    use super::*;

    /// A permission, and whether each of [`ALL`] gives it.
    type Permission = (&'static str, fn(Coverage) -> bool, [bool; 4]);

    const ALL: [Coverage; 4] = [Partial, UpToDate, Complete, Certain];

    const PERMISSIONS: [Permission; 7] = [
        ("may_answer_online", Coverage::may_answer_online, [false, true, true, true]),
        ("may_serve_stale_online", Coverage::may_serve_stale_online, [false, true, true, true]),
        ("may_list_users", Coverage::may_list_users, [false, false, true, true]),
        ("may_serve_stale_users", Coverage::may_serve_stale_users, [false, false, true, true]),
        ("may_take_over", Coverage::may_take_over, [false, false, true, true]),
        ("may_claim_complete", Coverage::may_claim_complete, [false, false, true, true]),
        ("may_trust_passwords", Coverage::may_trust_passwords, [false, false, false, true]),
    ];

    /// The table in the documentation of this module: the name of a permission, and its states.
    fn documented() -> Vec<(String, Vec<bool>)> {
        let lines = include_str!("coverage.rs").lines().filter_map(|line| line.strip_prefix("//! | [`"));
        let line = |line: &str| {
            let (name, rest) = line.split_once("`]").expect("a link");
            let cells = rest.split(" | ").map(|cell| cell.trim_end_matches(" |"));
            (name.to_owned(), cells.filter(|cell| ["yes", "no"].contains(cell)).map(|cell| cell == "yes").collect())
        };
        lines.map(line).collect()
    }

    #[test]
    fn each_state_permits_what_the_table_says() {
        for (name, may, expected) in PERMISSIONS {
            assert_eq!(ALL.map(may), expected, "{name}");
        }
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let mut documented = documented();
        let mut tested = PERMISSIONS.map(|(name, _, expected)| (name.to_owned(), expected.to_vec()));
        documented.sort();
        tested.sort();
        assert_eq!(documented, tested);
    }

    #[test]
    fn a_follower_in_step_has_what_its_leader_has_and_is_up_to_date_at_least() {
        assert_eq!(ALL.map(Coverage::in_sync_with), [UpToDate, UpToDate, Complete, Certain]);
    }

    #[test]
    fn the_bit_of_a_pulse_says_whether_users_may_be_listed() {
        assert_eq!(ALL.map(Coverage::complete_bit), [false, false, true, true]);
        for whole in [false, true] {
            assert_eq!(Coverage::from_complete_bit(whole).complete_bit(), whole);
        }
    }

    #[test]
    fn coverage_only_grows_within_a_term_and_starts_over_with_the_next() {
        let mut node = TermCoverage::default();
        node.raise_users(Term(1), Certain);
        node.raise_users(Term(1), Complete);
        node.raise_clients(Term(1), UpToDate);
        node.begin_term(Term(1));
        assert_eq!((node.users_in(Term(1)), node.clients_in(Term(1))), (Certain, UpToDate));
        node.begin_term(Term(2));
        for term in [Term(1), Term(2)] {
            assert_eq!((node.users_in(term), node.clients_in(term)), (Partial, Partial));
        }
        assert!(node.is_after(Term(1)) && !node.is_after(Term(2)));
        // Of a term that is over nothing is noted, and a later one may be heard of first here.
        node.raise_clients(Term(3), UpToDate);
        node.raise_users(Term(2), Certain);
        assert_eq!((node.users_in(Term(3)), node.clients_in(Term(3))), (Partial, UpToDate));
        assert_eq!(node.users_in(Term(2)), Partial);
    }

    #[test]
    fn a_node_that_was_complete_once_may_claim_it_from_then_on() {
        let mut node = TermCoverage::default();
        node.raise_users(Term(1), UpToDate);
        node.raise_clients(Term(1), UpToDate);
        assert!(!node.may_claim_complete());
        let mut follower = node;
        follower.note_complete();
        node.raise_users(Term(1), Complete);
        for mut node in [node, follower] {
            assert!(node.may_claim_complete());
            node.begin_term(Term(2));
            assert!(node.may_claim_complete());
        }
    }
}
