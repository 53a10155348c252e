//! Rule 4, the part on lost ballots: what a node may do that does not know how it voted.

use crate::domain::{MAX_NODES, Term};
use crate::election::message::BallotReport;
use crate::election::process::NodeId;

/// Whether this node remembers its votes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Memory {
    /// Its ballot was read from disk, or made good since.
    Sound,
    /// Its ballot file was missing or torn; what the others told of theirs.
    Lost([Option<BallotReport>; MAX_NODES]),
}

impl Memory {
    /// The memory of a node whose ballot file is missing or torn.
    pub(super) fn lost() -> Self {
        Self::Lost([None; MAX_NODES])
    }

    /// Notes what `node` said; the latest word counts.
    pub(super) fn told(&mut self, node: NodeId, report: BallotReport) {
        if let Self::Lost(reports) = self {
            reports[usize::from(node.0)] = Some(report);
        }
    }

    /// Whether nothing more is wanted of `node`: it was heard, or this node remembers all it needs.
    pub(super) fn heard(&self, node: NodeId) -> bool {
        match self {
            Self::Sound => true,
            Self::Lost(reports) => reports[usize::from(node.0)].is_some(),
        }
    }

    /// The term up to which a node that lost its ballot must abstain, once that is known; 0 in a cluster that is new.
    ///
    /// * Nobody who was heard ever took part in an election, and a majority (this node included) had no ballot when it
    ///   started: the cluster is new. A ballot without any election in it says nothing for or against that, so a start
    ///   that was cut short does not block the next one.
    /// * A majority of the *others* has sound ballots: whatever this node may have voted for is at most the highest of
    ///   their terms, because its candidate needed one of them (or stood alone, and did not lead).
    pub(super) fn verdict(&self, nodes: usize) -> Option<Term> {
        let Self::Lost(reports) = self else { return None };
        let heard = || reports.iter().flatten();
        let new_here = 1 + heard().filter(|report| report.missing_at_start && report.term == Term(0)).count();
        if new_here > nodes / 2 && heard().all(|report| report.term == Term(0)) {
            return Some(Term(0));
        }
        let sound = || heard().filter(|report| report.sound);
        let others = nodes - 1;
        (sound().count() > others / 2).then(|| sound().map(|report| report.term).max().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: BallotReport = BallotReport { missing_at_start: true, sound: false, term: Term(0) };
    const BLANK: BallotReport = BallotReport { missing_at_start: false, sound: true, term: Term(0) };

    fn voted(term: u64) -> BallotReport {
        BallotReport { missing_at_start: false, sound: true, term: Term(term) }
    }

    fn verdict(nodes: usize, reports: &[BallotReport]) -> Option<Term> {
        let mut memory = Memory::lost();
        for (place, report) in (1..).zip(reports) {
            memory.told(NodeId(place), *report);
        }
        memory.verdict(nodes)
    }

    #[test]
    fn a_new_cluster_votes_once_a_majority_says_that_it_is_new() {
        assert_eq!(verdict(1, &[]), Some(Term(0)));
        assert_eq!(verdict(3, &[]), None);
        assert_eq!(verdict(3, &[NEW]), Some(Term(0)));
        assert_eq!(verdict(5, &[NEW]), None);
        assert_eq!(verdict(5, &[NEW, NEW]), Some(Term(0)));
        assert_eq!(verdict(2, &[]), None);
    }

    #[test]
    fn a_start_that_was_cut_short_does_not_block_the_next() {
        // One node had already written its blank ballot when all were killed.
        assert_eq!(verdict(3, &[BLANK, NEW]), Some(Term(0)));
        // Both others had.
        assert_eq!(verdict(3, &[BLANK, BLANK]), Some(Term(0)));
    }

    #[test]
    fn a_wiped_node_abstains_until_it_heard_the_ballots_of_a_majority_of_the_others() {
        assert_eq!(verdict(3, &[voted(7)]), None);
        assert_eq!(verdict(3, &[voted(7), voted(9)]), Some(Term(9)));
        assert_eq!(verdict(2, &[voted(7)]), Some(Term(7)));
        assert_eq!(verdict(5, &[voted(7), voted(9)]), None);
        assert_eq!(verdict(5, &[voted(7), voted(9), voted(8)]), Some(Term(9)));
    }

    #[test]
    fn one_ballot_of_an_election_is_enough_to_know_that_the_cluster_is_not_new() {
        assert_eq!(verdict(3, &[voted(1), NEW]), None);
        // A first start that has been through elections since counts as a ballot, however it began.
        let grown = BallotReport { missing_at_start: true, sound: true, term: Term(9) };
        assert_eq!(verdict(3, &[grown]), None);
        assert_eq!(verdict(3, &[grown, voted(4)]), Some(Term(9)));
    }

    #[test]
    fn the_word_of_another_wiped_node_is_no_ballot() {
        let wiped_too = BallotReport { missing_at_start: true, sound: false, term: Term(3) };
        assert_eq!(verdict(3, &[voted(7), wiped_too]), None);
    }
}
