//! Registration of a user.

use rollcall_core::{AddrForm, Metadata, Password, Username};

/// Who is to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// The name.
    pub username: Username,
    /// Where others reach it.
    pub addr: Option<AddrForm>,
    /// From then on its requests need proof.
    pub password: Option<Password>,
    /// What it wants to have known.
    pub metadata: Option<Metadata>,
}

impl NewUser {
    /// A user of whom nothing but the name is known.
    #[must_use]
    pub fn named(username: Username) -> Self {
        Self { username, addr: None, password: None, metadata: None }
    }
}
