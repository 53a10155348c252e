//! Who is online.
//!
//! [`Table`] decides it from heartbeats, purely; [`StallClock`] keeps our own pauses from counting against clients; the feed
//! remembers what changed, for those who know an earlier list.
//! Nothing here reads a clock, and nothing knows whether a name is registered. Presence comes from heartbeats alone
//! and is kept in memory; [`Beat`] is how it reaches the other nodes.

mod feed;
mod replica;
mod rows;
mod stall;
mod sweep;
mod table;
mod types;

pub use feed::{Change, Changes, Event, Reason};
pub use stall::{Awake, AwakeMs, ClockMs, Moment, Presence, PresenceMs, StallClock};
pub use table::Table;
pub use types::{Beat, Online, Renewed, Seen, Stamp};
