//! Rule 4, lost ballots: the reports of other nodes from which a node recovers its ballot.

use crate::process::NodeId;
use crate::wire::message::BallotReport;
use rollcall_core::{BootMs, MAX_NODES, Term};

/// State of the ballot: sound, or lost with the reports about it so far.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct BallotRecovery {
    /// Whether there was no valid ballot on disk when the process started.
    pub(super) missing_at_start: bool,
    pub(super) status: BallotStatus,
    /// A report whose request was sent before this time cannot recover a lost ballot: an earlier
    /// vote of this node may still count then.
    pub(super) reports_count_from: BootMs,
    /// The first pre-vote round that started after that time.
    pub(super) first_counted_round: Option<u32>,
}

/// Whether this node knows its votes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum BallotStatus {
    /// The ballot was read from disk, or has been recovered.
    Sound,
    /// The ballot file was missing or corrupt. Holds the reports of the other nodes about their
    /// ballots.
    Lost([Option<BallotReport>; MAX_NODES]),
}

impl BallotRecovery {
    /// State at the start of a process.
    pub(super) fn new(missing_at_start: bool, reports_count_from: BootMs) -> Self {
        let status = if missing_at_start { BallotStatus::lost() } else { BallotStatus::Sound };
        Self { missing_at_start, status, reports_count_from, first_counted_round: None }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.status == BallotStatus::Sound
    }

    /// Records the start of a pre-vote round.
    pub(super) fn begin_round(&mut self, round: u32, now: BootMs) {
        if now >= self.reports_count_from {
            self.first_counted_round.get_or_insert(round);
        }
    }

    /// Whether the responses of this round can recover a lost ballot.
    pub(super) fn counts_round(&self, round: u32) -> bool {
        self.first_counted_round.is_some_and(|first| round.wrapping_sub(first) < u32::MAX / 2)
    }

    /// Whether the ballot is lost, reports count by now, and that of `node` is still missing.
    pub(super) fn needs_report_from(&self, node: NodeId) -> bool {
        self.first_counted_round.is_some() && !self.status.has_report_from(node)
    }
}

impl BallotStatus {
    /// Status of a node whose ballot file is missing or corrupt.
    pub(super) fn lost() -> Self {
        Self::Lost([None; MAX_NODES])
    }

    /// Stores the report of `node`, in place of its earlier one.
    pub(super) fn record_report(&mut self, node: NodeId, report: BallotReport) {
        if let Self::Lost(reports) = self {
            reports[usize::from(node.0)] = Some(report);
        }
    }

    /// Whether the report of `node` is stored. Also true for a sound ballot, which needs no report.
    pub(super) fn has_report_from(&self, node: NodeId) -> bool {
        match self {
            Self::Sound => true,
            Self::Lost(reports) => reports[usize::from(node.0)].is_some(),
        }
    }

    /// The term up to which a node with a lost ballot must abstain. `None` while the reports do not
    /// decide it.
    ///
    /// * A majority of the *other* nodes has sound ballots. If the lost vote helped to elect a
    ///   leader, one of these nodes voted in the same election. So the term of the lost vote is at
    ///   most their highest term. Otherwise the vote has expired and has no effect.
    /// * *Every* other node lost its ballot too and has taken part in no election since. Then no
    ///   node remembers a vote that a new one could contradict. A majority would not be enough: a
    ///   node that lost its vote and a node that lost a blank ballot could elect a second leader in
    ///   the term of that vote.
    pub(super) fn abstain_through(&self, nodes: usize) -> Option<Term> {
        let Self::Lost(reports) = self else { return None };
        let others = nodes - 1;
        let reported = || reports.iter().flatten();
        if reported().filter(|report| report.missing_at_start && report.term == Term(0)).count() == others {
            return Some(Term(0));
        }
        let sound = || reported().filter(|report| report.sound);
        (sound().count() > others / 2).then(|| sound().map(|report| report.term).max().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIPED: BallotReport = BallotReport { missing_at_start: true, sound: false, term: Term(0) };
    const BLANK: BallotReport = BallotReport { missing_at_start: false, sound: true, term: Term(0) };

    fn voted(term: u64) -> BallotReport {
        BallotReport { missing_at_start: false, sound: true, term: Term(term) }
    }

    fn abstain_through(nodes: usize, reports: &[BallotReport]) -> Option<Term> {
        let mut status = BallotStatus::lost();
        for (index, report) in (1..).zip(reports) {
            status.record_report(NodeId(index), *report);
        }
        status.abstain_through(nodes)
    }

    #[test]
    fn a_cluster_that_lost_every_ballot_starts_again_only_when_all_nodes_report_it() {
        assert_eq!(abstain_through(1, &[]), Some(Term(0)));
        assert_eq!(abstain_through(2, &[]), None);
        assert_eq!(abstain_through(3, &[WIPED]), None);
        assert_eq!(abstain_through(3, &[WIPED, WIPED]), Some(Term(0)));
        assert_eq!(abstain_through(5, &[WIPED, WIPED, WIPED]), None);
        assert_eq!(abstain_through(5, &[WIPED, WIPED, WIPED, WIPED]), Some(Term(0)));
    }

    #[test]
    fn one_blank_ballot_does_not_recover_the_ballot_of_a_voter() {
        assert_eq!(abstain_through(3, &[BLANK]), None);
        assert_eq!(abstain_through(3, &[BLANK, WIPED]), None);
        assert_eq!(abstain_through(3, &[BLANK, BLANK]), Some(Term(0)));
    }

    #[test]
    fn a_wiped_node_abstains_until_a_majority_of_the_others_has_reported() {
        assert_eq!(abstain_through(3, &[voted(7)]), None);
        assert_eq!(abstain_through(3, &[voted(7), voted(9)]), Some(Term(9)));
        assert_eq!(abstain_through(2, &[voted(7)]), Some(Term(7)));
        assert_eq!(abstain_through(5, &[voted(7), voted(9)]), None);
        assert_eq!(abstain_through(5, &[voted(7), voted(9), voted(8)]), Some(Term(9)));
    }

    #[test]
    fn the_report_of_another_wiped_node_does_not_count() {
        let wiped_too = BallotReport { missing_at_start: true, sound: false, term: Term(3) };
        assert_eq!(abstain_through(3, &[voted(7), wiped_too]), None);
    }
}
