//! The use cases: register, heartbeat, lists and pictures.
//!
//! [`Registry`] joins what lasts (the bucket), what is derived from it (the index of profiles) and what is only
//! remembered (presence). It does not know HTTP, nor who leads: whoever composes it calls [`Registry::begin_term`] when
//! others may have written meanwhile. Time comes in as an argument; randomness is drawn in `draw.rs`.

mod bulk;
mod draw;
mod error;
mod heartbeat;
mod images;
mod index;
mod lookup;
mod misses;
mod password;
mod picture;
mod probe;
mod rebuild;
mod register;
mod users;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

pub use error::{BulkError, ImageError, LookupError, RegisterError, Unavailable, UploadError, UsersError};
pub use heartbeat::Beat;
pub use picture::Rejected;
pub use register::{NewUser, Outcome};
pub use users::{ListTurn, UserRow};

use crate::domain::{BootMs, Page};
use crate::presence::{Moment, Online, StallClock, Table};
use crate::storage::Bucket;
use index::Index;
use password::Passwords;
use picture::Pictures;
use probe::Probed;

/// Reads of single profiles that run at once: enough to hide a store's latency, and few enough that a flood of made-up
/// names does not become a flood on the store.
const LOOKUPS_AT_ONCE: usize = 16;

/// What can be set about a registry.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For how long a client stays online after a heartbeat.
    pub ttl_ms: u64,
}

/// A stretch of time in which nobody but us writes to the bucket; a greater number begins a new one. Whoever composes
/// the registry decides what it counts.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u64);

/// The registry. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    settings: Settings,
    presence: Mutex<Presence>,
    index: Mutex<Index>,
    /// The epoch in which the index holds every profile of the bucket.
    whole: watch::Sender<Option<Epoch>>,
    passwords: Passwords,
    pictures: Pictures,
    /// The second in which a picture was named last, and what told it apart.
    last_image: Mutex<(i64, u32)>,
    lookups: Semaphore,
    bulks: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    probed: tokio::sync::Mutex<Option<Probed>>,
}

struct Presence {
    clock: StallClock,
    table: Table,
}

impl Registry {
    /// A registry that keeps what lasts in `bucket`, and starts at `now` with nobody online.
    #[must_use]
    pub fn new(bucket: Bucket, settings: Settings, now: BootMs) -> Self {
        Self(Arc::new(Inner {
            bucket,
            settings,
            presence: Mutex::new(Presence { clock: StallClock::new(now), table: Table::new(settings.ttl_ms) }),
            index: Mutex::default(),
            whole: watch::Sender::new(None),
            passwords: Passwords::default(),
            pictures: Pictures::default(),
            last_image: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS_AT_ONCE),
            bulks: Arc::new(Semaphore::new(bulk::AT_ONCE)),
            lists: Arc::new(Semaphore::new(users::LISTS_AT_ONCE)),
            probed: tokio::sync::Mutex::default(),
        }))
    }

    /// For how long a client stays online after a heartbeat.
    #[must_use]
    pub fn ttl_ms(&self) -> u64 {
        self.0.settings.ttl_ms
    }

    /// Notes that this process runs at `now`, and forgets whom nobody heard for a day. To be called several times a
    /// second: a longer gap counts as a pause of ours, for which no client ages.
    pub fn observe(&self, now: BootMs) {
        self.presence(now, Table::sweep);
    }

    /// The clients on `page` that are online at `now`, sorted by name.
    #[must_use]
    pub fn online(&self, page: &Page, now: BootMs) -> Vec<Online> {
        self.presence(now, |table, now| table.online(page, now))
    }

    /// How many clients are online at `now`.
    #[must_use]
    pub fn online_count(&self, now: BootMs) -> usize {
        self.presence(now, Table::online_count)
    }

    /// Asks the presence table something at `now`.
    fn presence<T>(&self, now: BootMs, ask: impl FnOnce(&mut Table, Moment) -> T) -> T {
        let presence = &mut *lock(&self.0.presence);
        let now = presence.clock.observe(now);
        ask(&mut presence.table, now)
    }
}

/// Every operation under these locks leaves its table whole at each step, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
