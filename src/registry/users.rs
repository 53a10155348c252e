//! Registered users: profiles in the bucket, and an index of them in memory.

pub(super) mod index_rebuild;
mod negative_cache;
pub(super) mod profile_store;
pub(super) mod registrar;
mod registration_quota;
mod replication_queue;
pub(super) mod user_details;
pub(super) mod user_index;
pub(super) mod user_list;

use index_rebuild::IndexRebuild;
use registrar::Registrar;
use user_list::UserList;

/// The components of the registry for users.
pub(super) struct UserComponents {
    pub(super) list: UserList,
    pub(super) rebuild: IndexRebuild,
    pub(super) registrar: Registrar,
}
