//! Presence: which clients are online.
//!
//! [`PresenceTable`] decides from heartbeats which clients are online. [`PresenceClock`] excludes
//! the time in which clients could not reach this node or any leader. The change log answers "what
//! changed since version v".
//!
//! All of it is pure: nothing here reads a clock or knows which names are registered. Presence is
//! held in memory only. [`ReplicatedClient`] is the row that nodes send to each other.

mod batch_limit;
mod change_log;
mod client_rows;
mod merge;
mod presence_clock;
mod retention;
mod table;
mod types;
mod wall_offset;

pub use batch_limit::BatchLimit;
pub use change_log::{NetChanges, OfflineReason, PresenceChange, PresenceEvent};
pub use presence_clock::{AwakeMs, AwakeTime, ClockMs, Moment, PresenceClock, PresenceMs, PresenceTime};
pub use table::PresenceTable;
pub use types::{HeartbeatId, LastSeen, OnlineRow, Renewal, ReplicatedClient, SeenAt};
