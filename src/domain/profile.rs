//! What is stored about a user for good.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Addr, Username};

/// The id that a registration is given; never used again for another.
pub type UserId = Uuid;

/// What a client wants to have known about itself: any JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

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
    /// The password as an Argon2id PHC string, if one was set. Never leaves the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}
