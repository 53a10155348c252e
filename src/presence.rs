//! Who is online.
//!
//! [`PresenceTable`] decides it from heartbeats, purely; [`PresenceClock`] keeps our own pauses from counting against clients; the change log
//! remembers what changed, for those who know an earlier list.
//! Nothing here reads a clock, and nothing knows whether a name is registered. Presence comes from heartbeats alone
//! and is kept in memory; [`ReplicatedClient`] is how it reaches the other nodes.

mod change_log;
mod client_rows;
mod merge;
mod presence_clock;
mod retention;
mod table;
mod types;

pub use change_log::{NetChanges, OfflineReason, PresenceChange, PresenceEvent};
pub use presence_clock::{AwakeMs, AwakeTime, ClockMs, Moment, PresenceClock, PresenceMs, PresenceTime};
pub use table::PresenceTable;
pub use types::{HeartbeatId, LastSeen, OnlineRow, Renewal, ReplicatedClient};
