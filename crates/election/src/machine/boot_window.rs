//! Rule 4, the boot window: a node that has just started holds still, because it may have promised
//! something before.

use super::event::Note;
use super::node::Node;
use super::state::State;
use super::turn::Turn;
use crate::process::NodeId;

/// The window ends early once *every* other member has said itself, to this boot, that it does not
/// lead.
pub(super) fn told_not_leading(node: &mut Node, turn: &mut Turn, from: NodeId) {
    let Some(window) = &mut node.following.window else { return };
    window.not_leading.insert(from);
    if window.not_leading.len() == node.rules.nodes - 1 {
        end(node, turn, true);
    }
}

/// Ends the window if its time is over.
pub(super) fn pass_time(node: &mut Node, turn: &mut Turn) {
    if node.following.window.is_some_and(|window| turn.now >= window.until) {
        end(node, turn, false);
    }
}

/// Ends the window. A promise that was made since stays: the two are different things.
fn end(node: &mut Node, turn: &mut Turn, early: bool) {
    node.following.window = None;
    turn.note(Note::BootWindowEnded { early });
    if node.following.leader.is_none() && !node.leads() {
        node.state = State::Follower;
        // The questions of the window were not lost rounds of an election.
        node.schedule.lost = 0;
        node.schedule.deadline = turn.now.plus(node.rules.short_pause_ms(node.process.load, turn.draw));
    }
}
