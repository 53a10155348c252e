//! Who is registered: profiles in the bucket, and an index of them in memory.

mod announcements;
pub(super) mod facts;
pub(super) mod index;
pub(super) mod list;
mod negative_cache;
pub(super) mod profiles;
pub(super) mod rebuild;
pub(super) mod register;
pub(super) mod rows;

use list::UserList;
use rebuild::IndexRebuild;
use register::Registration;

/// The use cases about users.
pub(super) struct Users {
    pub(super) list: UserList,
    pub(super) rebuild: IndexRebuild,
    pub(super) registration: Registration,
}
