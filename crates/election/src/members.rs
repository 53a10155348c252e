//! Table of all nodes, for operators and for leader URLs. No rule of the election reads it.

use crate::process::{NodeId, Peers};
use crate::role::Member;
use crate::wire::frame::{Envelope, MemberReport};
use rollcall_core::MemberRole;
use rollcall_core::{BootMs, Load, Term};

/// One row per node, in the order of `peers`.
#[derive(Clone, Debug)]
pub(super) struct MemberTable {
    rows: Vec<Member>,
    me: NodeId,
}

impl MemberTable {
    pub(super) fn new(peers: &Peers, my_api_url: &str) -> Self {
        let mut rows: Vec<Member> = peers
            .addrs()
            .iter()
            .map(|node| Member {
                node: *node,
                api_url: None,
                role: None,
                reachable: false,
                load: None,
                term: None,
                last_heard: None,
            })
            .collect();
        let own = &mut rows[usize::from(peers.me().0)];
        own.api_url = Some(my_api_url.to_owned());
        own.reachable = true;
        Self { rows, me: peers.me() }
    }

    /// The rows for publication.
    pub(super) fn rows(&self) -> &Vec<Member> {
        &self.rows
    }

    /// API URL of a node, if it is known.
    pub(super) fn api_url(&self, node: NodeId) -> Option<&str> {
        self.rows.get(usize::from(node.0))?.api_url.as_deref()
    }

    /// Stores this node's own state.
    pub(super) fn update_own(&mut self, role: MemberRole, load: Load, term: Term, now: BootMs) {
        let own = &mut self.rows[usize::from(self.me.0)];
        (own.role, own.load, own.term, own.last_heard) = (Some(role), Some(load), Some(term), Some(now));
    }

    /// The link to `node` is up.
    pub(super) fn set_linked(&mut self, node: NodeId, api_url: &str) {
        let row = &mut self.rows[usize::from(node.0)];
        row.reachable = true;
        row.api_url = Some(api_url.to_owned());
    }

    /// The link to `node` is down.
    pub(super) fn set_unlinked(&mut self, node: NodeId) {
        self.rows[usize::from(node.0)].reachable = false;
    }

    /// Stores the reports in a frame from `node` about itself and about other nodes.
    pub(super) fn record_frame(&mut self, node: NodeId, envelope: &Envelope, now: BootMs) {
        let row = &mut self.rows[usize::from(node.0)];
        row.role = Some(envelope.role);
        row.load = Some(envelope.load);
        row.term = Some(envelope.term);
        row.last_heard = Some(now);
        for report in &envelope.members {
            self.record_report(node, report, now);
        }
    }

    /// Stores a report by `reporter` about another node, if it is newer. A report contains its age
    /// and not a time, because the nodes' clocks differ.
    fn record_report(&mut self, reporter: NodeId, report: &MemberReport, now: BootMs) {
        let Some(row) = self.rows.get_mut(usize::from(report.node.0)) else { return };
        let heard_at = BootMs(now.0.saturating_sub(report.heard_ms_ago));
        if report.node != self.me && report.node != reporter && row.last_heard.is_none_or(|last| last < heard_at) {
            row.role = Some(report.role);
            row.load = Some(report.load);
            row.term = Some(report.term);
            row.last_heard = Some(heard_at);
        }
    }

    /// Stores the API URL of a leader that another node named, unless the URL is known already.
    pub(super) fn learn_api_url(&mut self, node: NodeId, api_url: &str) {
        if let Some(row) = self.rows.get_mut(usize::from(node.0)) {
            row.api_url.get_or_insert_with(|| api_url.to_owned());
        }
    }

    /// Reports about the other nodes, for this node's heartbeats.
    pub(super) fn reports(&self, now: BootMs) -> Vec<MemberReport> {
        (0..)
            .map(NodeId)
            .zip(&self.rows)
            .filter(|(node, _)| *node != self.me)
            .filter_map(|(node, row)| {
                Some(MemberReport {
                    node,
                    role: row.role?,
                    load: row.load?,
                    term: row.term?,
                    heard_ms_ago: now.since(row.last_heard?),
                })
            })
            .collect()
    }
}
