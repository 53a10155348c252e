//! The public data of a user, without the username.

use compact_str::CompactString;

use rollcall_core::{Addr, Metadata, Profile, UserId};

/// A profile without the username and the password hash.
#[derive(Debug, PartialEq)]
pub(crate) struct UserDetails {
    pub(crate) id: UserId,
    pub(crate) addr: Option<Addr>,
    /// RFC 3339, UTC.
    pub(crate) registered_at: CompactString,
    /// Time of the last heartbeat that another program wrote to the profile. RFC 3339, UTC.
    pub(crate) last_seen: Option<Box<str>>,
    pub(crate) metadata: Metadata,
}

impl From<Profile> for UserDetails {
    fn from(profile: Profile) -> Self {
        let Profile { id, addr, registered_at, last_seen, metadata, .. } = profile;
        Self {
            id,
            addr,
            registered_at: registered_at.into(),
            last_seen: last_seen.map(String::into_boxed_str),
            metadata,
        }
    }
}
