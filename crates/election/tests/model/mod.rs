//! A model check of the election: every order of events within the bounds of a run, on the machine that really runs.
//!
//! Three machines, their disks and what is on its way between them are one state. A packet arrives at any later time, in
//! any order, or never. What holds in every state: I1 to I4 of ARCHITECTURE.md. What must be reached: somebody serves in
//! each term, and what the run is there for (`Milestone`). A run is explored to the end if every step of every state that was
//! found was taken; `check::explore_all` counts them.
//!
//! Time is relative: instead of going on, clocks are set back by a tick, and `Machine::normalized` forgets what is long over.
//! So a run has no end of time, and what bounds it is terms, kills, stops and missed ticks (`Bounds`). Nothing else cuts a
//! run off: there is no bound to its length, nor to what is on its way at once.
//!
//! What is left out, besides what `Bounds` says:
//! * Questions (`PreVote`) take no time; answers take some only with `slow_answers`. Without it, a question from
//!   which the asker learns nothing, and does not stand, is not asked.
//! * Of several heartbeats, or acknowledgements, of one term on one link only the newest arrives, see
//!   `Packet::is_superseded_by`; older than two ticks, none does. A request for a vote, once nobody waits for the answer, is lost.
//! * Without `stale_messages`, refusals and words of a term that their receiver has passed are lost.
//! * All loads are the same, so nobody nominates another or hands over because of it: leaders hand over because they are
//!   asked to stop.

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
