//! Rule 4, boot window: after a start a node neither votes nor campaigns for V, because its earlier
//! process may have made a promise.

use super::event::LogEvent;
use super::event_context::EventContext;
use super::node::Node;
use super::state::State;
use crate::process::NodeId;

/// Another node reports to this process that it does not lead. The window ends early when *every*
/// other node has reported that.
pub(super) fn record_not_leading(node: &mut Node, ctx: &mut EventContext, from: NodeId) {
    let Some(window) = &mut node.following.window else { return };
    window.not_leading.insert(from);
    if window.not_leading.len() == node.rules.nodes - 1 {
        end(node, ctx, true);
    }
}

/// Ends the window if its time is over.
pub(super) fn expire(node: &mut Node, ctx: &mut EventContext) {
    if node.following.window.is_some_and(|window| ctx.now >= window.until) {
        end(node, ctx, false);
    }
}

/// Ends the window. A promise that was made during the window stays.
fn end(node: &mut Node, ctx: &mut EventContext, early: bool) {
    node.following.window = None;
    ctx.log(LogEvent::BootWindowEnded { early });
    if node.following.leader.is_none() && !node.leads() {
        node.state = State::Follower;
        // Pre-vote rounds during the window do not count as lost rounds.
        node.schedule.lost_rounds = 0;
        node.schedule.deadline = ctx.now.plus(node.rules.leaderless_pause_ms(node.process.load, ctx.entropy));
    }
}
