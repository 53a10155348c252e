//! Rule 4, the part on lost ballots: what a node may do that does not know how it voted.

use crate::domain::{BootMs, MAX_NODES, Term};
use crate::election::message::BallotReport;
use crate::election::process::NodeId;

/// Whether this node remembers its votes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Memory {
    /// Its ballot was read from disk, or made good since.
    Sound,
    /// Its ballot file was missing or torn.
    Lost {
        /// What the others told of theirs.
        reports: [Option<BallotReport>; MAX_NODES],
        /// Until then a vote that this node gave and lost may still count. None once that moment has passed.
        counted_until: Option<BootMs>,
    },
}

impl Memory {
    /// The memory of a node whose ballot file is missing or torn, and whose lost votes count until then at the latest.
    pub(super) fn lost(counted_until: BootMs) -> Self {
        Self::Lost { reports: [None; MAX_NODES], counted_until: Some(counted_until) }
    }

    /// Notes what `node` said; the latest word counts.
    pub(super) fn told(&mut self, node: NodeId, report: BallotReport, now: BootMs) {
        if let Self::Lost { reports, counted_until } = self {
            if counted_until.is_some_and(|until| now >= until) {
                // Whoever spoke earlier may have voted since beside a vote that this node lost.
                *reports = [None; MAX_NODES];
                *counted_until = None;
            }
            reports[usize::from(node.0)] = Some(report);
        }
    }

    /// Whether nothing more is wanted of `node`: it was heard, or this node remembers all it needs.
    pub(super) fn heard(&self, node: NodeId) -> bool {
        match self {
            Self::Sound => true,
            Self::Lost { reports, .. } => reports[usize::from(node.0)].is_some(),
        }
    }

    /// The term up to which a node that lost its ballot must abstain, once that is known; 0 in a cluster that is new.
    ///
    /// * Nobody who was heard ever took part in an election, and a majority (this node included) had no ballot when it
    ///   started: the cluster is new. A ballot without any election in it says nothing for or against that, so a start
    ///   that was cut short does not block the next one.
    /// * A majority of the *others* has sound ballots: whatever this node may have voted for is at most the highest of
    ///   their terms, because its candidate needed one of them (or stood alone, and did not lead).
    ///
    /// Both only from those who spoke when no vote that this node lost could count any more, or from all others: its
    /// candidate is among them. Else a candidate could still win a term that nobody who was heard knows of, and this
    /// node vote in it again.
    pub(super) fn verdict(&self, nodes: usize) -> Option<Term> {
        let Self::Lost { reports, counted_until } = self else { return None };
        let heard = || reports.iter().flatten();
        if counted_until.is_some() && heard().count() < nodes - 1 {
            return None;
        }
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
        let mut memory = Memory::lost(BootMs(100));
        for (place, report) in (1..).zip(reports) {
            memory.told(NodeId(place), *report, BootMs(100));
        }
        memory.verdict(nodes)
    }

    #[test]
    fn while_a_lost_vote_may_count_only_the_word_of_all_others_is_enough() {
        let mut memory = Memory::lost(BootMs(100));
        for place in 1..4 {
            memory.told(NodeId(place), voted(7), BootMs(99));
        }
        assert_eq!(memory.verdict(5), None, "the fourth could be winning term 8 with that vote");
        let mut all = memory.clone();
        all.told(NodeId(4), voted(8), BootMs(99));
        assert_eq!(all.verdict(5), Some(Term(8)));
        // Later, what was said before does not count any more.
        memory.told(NodeId(1), voted(8), BootMs(100));
        memory.told(NodeId(2), voted(7), BootMs(101));
        assert_eq!(memory.verdict(5), None);
        memory.told(NodeId(3), voted(7), BootMs(102));
        assert_eq!(memory.verdict(5), Some(Term(8)));
    }

    #[test]
    fn a_new_cluster_votes_once_a_majority_says_that_it_is_new() {
        assert_eq!(Memory::lost(BootMs(100)).verdict(1), Some(Term(0)));
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
