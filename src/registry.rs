//! The use cases: register, heartbeat, lists and pictures.
//!
//! [`Registry`] joins what lasts (the bucket), what is derived from it (the index of profiles) and what is only
//! remembered (presence). It does not know HTTP, nor who leads: whoever composes it calls [`Registry::begin_term`] when
//! others may have written meanwhile. Time comes in as an argument; randomness is drawn in `draw.rs`.

mod access;
mod bulk;
mod copy;
mod coverage;
mod draw;
mod error;
mod gallery;
mod guard;
mod guesses;
mod heartbeat;
mod images;
mod index;
mod login;
mod lookup;
mod misses;
mod online;
mod password;
mod picture;
mod probe;
mod rebuild;
mod register;
mod rows;
mod token;
mod token_key;
mod users;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, watch};

pub use access::{Caller, Credentials, Denied};
pub use coverage::{Coverage, TermCoverage};
pub use error::{AuthError, BulkError, ImageError, LookupError, RegisterError, Unavailable, UploadError, UsersError};
pub use heartbeat::Beat;
pub use online::News;
pub use picture::Rejected;
pub use register::{NewUser, Outcome, Registered};
pub use rows::{RowNo, Rows, UserFacts};
pub use token::{Granted, TokenKey};
pub use token_key::TokenKeyError;
pub use users::{UserRow, UsersVersion};
// What lists are made of, for those who do not know where presence comes from.
pub use crate::presence::{Online, Reason};

use crate::presence::{Moment, StallClock, Table};
use crate::storage::Bucket;
use copy::Confirmed;
use gallery::Gallery;
use guesses::Guesses;
use index::Index;
use password::Passwords;
use picture::Pictures;
use probe::Probed;
use rollcall_core::BootMs;
use token::Tokens;

/// Reads of single profiles that run at once: enough to hide a store's latency, and few enough that a flood of made-up
/// names does not become a flood on the store.
const LOOKUPS_AT_ONCE: usize = 16;

/// What can be set about a registry.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For how long a client stays online after a heartbeat.
    pub ttl_ms: u64,
    /// Whether there are other nodes, so that what changes is to be told and a registration to be known to a majority.
    pub replicated: bool,
    /// Whether a user must have a password.
    pub require_password: bool,
    /// For how long a token is good.
    pub token_seconds: u64,
}

/// A stretch of time in which nobody but us writes to the bucket; a greater number begins a new one. Whoever composes
/// the registry decides what it counts.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// The registry. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    settings: Settings,
    presence: Mutex<Presence>,
    /// Told of each visible change of presence.
    changed: Notify,
    index: Mutex<Index>,
    /// The epoch in which the index holds every profile of the bucket.
    whole: watch::Sender<Option<Epoch>>,
    /// The latest epoch in which this node knows who is online as well as any other.
    clients_known: watch::Sender<Option<Epoch>>,
    /// Whether this process has once had every registration that was acknowledged until then.
    complete: AtomicBool,
    /// The epoch that runs.
    epoch: AtomicU64,
    confirmed: watch::Sender<Confirmed>,
    /// There are new users to tell the other nodes of.
    news: Notify,
    passwords: Passwords,
    guesses: Mutex<Guesses>,
    tokens: Tokens,
    pictures: Pictures,
    gallery: Mutex<Gallery>,
    /// The second in which a picture was named last, and what told it apart.
    last_image: Mutex<(i64, u32)>,
    lookups: Semaphore,
    bulks: Arc<Semaphore>,
    probed: tokio::sync::Mutex<Option<Probed>>,
}

struct Presence {
    clock: StallClock,
    table: Table,
    /// The version of the table of which was told.
    told: u64,
}

impl Registry {
    /// A registry that keeps what lasts in `bucket`, makes tokens with `key`, and starts at `now` with nobody online.
    #[must_use]
    pub fn new(bucket: Bucket, settings: Settings, key: &TokenKey, now: BootMs) -> Self {
        Self(Arc::new(Inner {
            bucket,
            settings,
            presence: Mutex::new(Presence {
                clock: StallClock::new(!settings.replicated, now),
                table: Table::new(settings.ttl_ms),
                told: 0,
            }),
            changed: Notify::new(),
            index: Mutex::default(),
            whole: watch::Sender::new(None),
            clients_known: watch::Sender::new(None),
            epoch: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            confirmed: watch::Sender::new(Confirmed::none_after(RowNo::default())),
            news: Notify::new(),
            passwords: Passwords::default(),
            guesses: Mutex::default(),
            tokens: Tokens::new(key, settings.token_seconds),
            pictures: Pictures::default(),
            gallery: Mutex::default(),
            last_image: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS_AT_ONCE),
            bulks: Arc::new(Semaphore::new(bulk::AT_ONCE)),
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

    /// Asks the presence table something at `now`, and passes on that it changed visibly, whether by what was asked or by
    /// the time that has passed. However many clients go offline at that moment, others get their turn in between.
    fn presence<T>(&self, now: BootMs, ask: impl FnOnce(&mut Table, Moment) -> T) -> T {
        while !self.presence_alone(now, |table, now| table.advance_part(online::ROWS_A_LOCK, now)) {
            std::thread::yield_now();
        }
        self.presence_alone(now, ask)
    }

    /// The same without a look at whose time has come, for what concerns one client.
    fn presence_alone<T>(&self, now: BootMs, ask: impl FnOnce(&mut Table, Moment) -> T) -> T {
        let mut presence = lock(&self.0.presence);
        let Presence { clock, table, told } = &mut *presence;
        let now = clock.observe(now);
        let answer = ask(table, now);
        let version = table.version_so_far();
        let changed = std::mem::replace(told, version) != version;
        drop(presence);
        if changed {
            self.0.changed.notify_one();
        }
        answer
    }
}

/// Every operation under these locks leaves its table whole at each step, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
