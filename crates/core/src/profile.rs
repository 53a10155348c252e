//! What is stored about a user for good.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Addr, Metadata, PasswordHash, Username};

/// The id that a registration is given; never used again for another.
pub type UserId = Uuid;

/// A registration, as it is stored in the bucket. Written once and never changed but for its password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The id of this registration.
    pub user_id: UserId,
    /// The name.
    pub username: Username,
    /// The address given at registration, if one was.
    #[serde(default)]
    pub addr: Option<Addr>,
    /// RFC 3339, UTC.
    pub registered_at: String,
    /// What the client wanted known; empty if nothing.
    #[serde(default)]
    pub metadata: Metadata,
    /// The password's hash, if one was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<PasswordHash>,
    /// How many times the password was changed.
    #[serde(default, skip_serializing_if = "is_first")]
    pub password_version: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_first(version: &u32) -> bool {
    *version == 0
}
