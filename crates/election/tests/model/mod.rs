//! Model check of the election: every order of events within the bounds of a run, with the real
//! state machine.
//!
//! A state consists of three machines, their disks, and the packets between them. A packet arrives
//! at any later time, in any order, or never. The invariants I1 to I4 of docs/design/election.md
//! hold in every state, and no message has used up the terms (I6). A run must also reach its
//! milestones (`Milestone`), and in each term a node must serve. A run is explored completely if
//! every step of every found state was taken; `check::explore_all` counts them.
//!
//! Time is relative. It does not advance: clocks are set back by a tick, and `Machine::normalized`
//! removes expired facts. So time in a run has no end. The bounds of a run are its terms, kills,
//! stops and missed ticks (`Bounds`). Neither its length nor the number of packets is limited.
//!
//! The model leaves out the following, besides the limits in `Bounds`:
//! * Pre-vote requests take no time. Responses take time only with `slow_answers`. Without it, a
//!   request is left out if the sender learns nothing from the responses and does not campaign.
//! * Of several heartbeats, or acknowledgements, of one term on one link only the newest arrives,
//!   see `Packet::is_superseded_by`. None arrives when it is older than two ticks. A request for a
//!   vote is lost when no node waits for the response.
//! * Without `stale_messages`, refusals and messages of a term that their receiver has passed are
//!   lost.
//! * Absurd messages (`absurd.rs`) arrive at once, and only with `absurd_messages`.
//! * All loads are equal, so no node nominates another or hands over because of the load. Leaders
//!   hand over because they are asked to stop.

mod absurd;
mod bounds;
mod bugs;
mod check;
mod larger;
mod milestones;
mod packet;
mod runs;
mod seeded_bugs;
mod step;
mod world;
