//! Coverage: how much of the registry's data a node has, and what that permits.
//!
//! A node has two tables: the users (all registered users) and the clients (all clients seen in the
//! last day). [`Coverage`] states how much of one table the node has within a term. Code asks for a
//! permission; it never compares coverages. These are the permissions and the states that grant
//! them:
//!
//! | permission | of | `Partial` | `UpToDate` | `Complete` | `Certain` |
//! |---|---|---|---|---|---|
//! | [`may_answer_online`]: the leader lists clients | clients | no | yes | yes | yes |
//! | [`may_serve_stale_online`]: a follower lists clients | clients | no | yes | yes | yes |
//! | [`may_list_users`]: the leader lists users | users | no | no | yes | yes |
//! | [`may_serve_stale_users`]: a follower lists users | users | no | no | yes | yes |
//! | [`may_take_over`]: target of a handover | users | no | no | yes | yes |
//! | [`may_claim_complete`]: a node states that the rows sent for a catch-up are complete | users | no | no | yes | yes |
//! | [`may_trust_passwords`]: checks tokens in memory | users | no | no | no | yes |
//!
//! Clients have no states above `UpToDate`: the last heartbeats that a dead leader received may be
//! lost, and the next heartbeats replace them. Two permissions remain when the state that granted
//! them ends:
//!
//! * *May claim complete* holds until the process ends; see [`TermCoverage::may_claim_complete`].
//!   The node has every registration from before that moment, and each later one that it
//!   acknowledged as part of a majority. So a majority of such nodes has all registrations ever
//!   acknowledged.
//! * *Stale reads* remain permitted, and the response states the age of the data. The age counts
//!   from the last moment at which the node was in that state.
//!
//! [`may_answer_online`]: Coverage::may_answer_online
//! [`may_serve_stale_online`]: Coverage::may_serve_stale_online
//! [`may_list_users`]: Coverage::may_list_users
//! [`may_serve_stale_users`]: Coverage::may_serve_stale_users
//! [`may_take_over`]: Coverage::may_take_over
//! [`may_claim_complete`]: Coverage::may_claim_complete
//! [`may_trust_passwords`]: Coverage::may_trust_passwords

use rollcall_core::Term;

/// Part of one table that a node has within a term. A greater state includes the smaller ones.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Coverage {
    /// Rows may be missing that other nodes have.
    #[default]
    Partial,
    /// A follower has everything that its leader had and sent. A leader has the rows that the other
    /// nodes reported, or has stopped waiting for reports. Both may lack rows that no node has sent
    /// in this term.
    UpToDate,
    /// Users only: the node has every registration acknowledged before the term. The latest
    /// password of a user may have to be read from the bucket.
    Complete,
    /// Users only: a majority of complete nodes sent all their rows, so each password fingerprint
    /// here is the latest one.
    Certain,
}

impl Coverage {
    /// The leader may list online clients: `/discover`, `/discovery/online` and their images.
    #[must_use]
    pub fn may_answer_online(self) -> bool {
        self >= Self::UpToDate
    }

    /// A follower may list online clients from its own data.
    #[must_use]
    pub fn may_serve_stale_online(self) -> bool {
        self >= Self::UpToDate
    }

    /// The leader may list registered users: `/users`.
    #[must_use]
    pub fn may_list_users(self) -> bool {
        self >= Self::Complete
    }

    /// A follower may list registered users from its own data.
    #[must_use]
    pub fn may_serve_stale_users(self) -> bool {
        self >= Self::Complete
    }

    /// A follower may be the target of a handover. Once it leads, it needs one round trip to list
    /// users, and usually no read of the bucket.
    #[must_use]
    pub fn may_take_over(self) -> bool {
        self >= Self::Complete
    }

    /// A node may tell other nodes that the rows they pull from it are complete. Never withdrawn.
    #[must_use]
    pub fn may_claim_complete(self) -> bool {
        self >= Self::Complete
    }

    /// A token may be checked against the password fingerprint in memory, without reading the
    /// bucket.
    #[must_use]
    pub fn may_trust_passwords(self) -> bool {
        self >= Self::Certain
    }

    /// The coverage of a follower that has everything its leader had and sent, where `leader` is
    /// the coverage of the leader.
    #[must_use]
    pub fn in_sync_with(leader: Self) -> Self {
        leader.max(Self::UpToDate)
    }

    /// The leader's coverage of the users, from `users_complete` of its status message.
    #[must_use]
    pub fn from_complete_bit(is_complete: bool) -> Self {
        if is_complete { Self::Complete } else { Self::Partial }
    }

    /// The value of `users_complete` in the status message of a leader with this coverage of the
    /// users.
    #[must_use]
    pub fn complete_bit(self) -> bool {
        self >= Self::Complete
    }
}

/// Coverage of both tables in one term, and whether the node was ever complete.
///
/// Invariant: within a term, neither coverage falls. A node that was complete once stays so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TermCoverage {
    term: Term,
    users: Coverage,
    clients: Coverage,
    was_complete: bool,
}

impl TermCoverage {
    /// Coverage of the users in `term`.
    #[must_use]
    pub fn users_in(&self, term: Term) -> Coverage {
        if term == self.term { self.users } else { Coverage::Partial }
    }

    /// Coverage of the clients in `term`.
    #[must_use]
    pub fn clients_in(&self, term: Term) -> Coverage {
        if term == self.term { self.clients } else { Coverage::Partial }
    }

    /// Whether a term later than `term` has begun.
    #[must_use]
    pub fn is_after(&self, term: Term) -> bool {
        self.term > term
    }

    /// Whether the node had every acknowledged registration at some moment since its process
    /// started.
    #[must_use]
    pub fn may_claim_complete(&self) -> bool {
        self.was_complete
    }

    /// Begins a later term, in which both tables are partial. The current term and earlier ones are
    /// ignored.
    pub fn begin_term(&mut self, term: Term) {
        if term > self.term {
            *self = Self { term, was_complete: self.was_complete, ..Self::default() };
        }
    }

    /// Raises the coverage of the users in `term`. Ignored if the term is over.
    pub fn raise_users(&mut self, term: Term, coverage: Coverage) {
        self.begin_term(term);
        if term == self.term {
            self.users = self.users.max(coverage);
            self.was_complete |= coverage.may_claim_complete();
        }
    }

    /// Raises the coverage of the clients in `term`. Ignored if the term is over.
    pub fn raise_clients(&mut self, term: Term, coverage: Coverage) {
        self.begin_term(term);
        if term == self.term {
            self.clients = self.clients.max(coverage);
        }
    }

    /// Records that the node has every registration acknowledged so far.
    pub fn note_complete(&mut self) {
        self.was_complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::Coverage::{Certain, Complete, Partial, UpToDate};
    use super::*;

    /// Name of a permission, its method, and its value for each state of [`ALL`].
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

    /// The table in this module's documentation: the name of each permission and its values.
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
    fn each_state_grants_the_permissions_of_the_table() {
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
    fn a_follower_in_sync_has_the_coverage_of_its_leader_and_is_at_least_up_to_date() {
        assert_eq!(ALL.map(Coverage::in_sync_with), [UpToDate, UpToDate, Complete, Certain]);
    }

    #[test]
    fn a_status_message_states_whether_users_may_be_listed() {
        assert_eq!(ALL.map(Coverage::complete_bit), [false, false, true, true]);
        for is_complete in [false, true] {
            assert_eq!(Coverage::from_complete_bit(is_complete).complete_bit(), is_complete);
        }
    }

    #[test]
    fn coverage_only_grows_within_a_term_and_is_reset_by_the_next() {
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
        // Calls for an old term are ignored. A call for a later term begins that term.
        node.raise_clients(Term(3), UpToDate);
        node.raise_users(Term(2), Certain);
        assert_eq!((node.users_in(Term(3)), node.clients_in(Term(3))), (Partial, UpToDate));
        assert_eq!(node.users_in(Term(2)), Partial);
    }

    #[test]
    fn a_node_that_was_complete_once_may_claim_it_in_later_terms() {
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
