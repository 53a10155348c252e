//! Registration data of a new user.

use rollcall_core::{AddrForm, Metadata, Password, Username};

/// Name, address, password and metadata of a user to register.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// Name of the user.
    pub username: Username,
    /// Address where other clients can reach the user.
    pub addr: Option<AddrForm>,
    /// Password. If there is one, the user's requests need a token.
    pub password: Option<Password>,
    /// Public metadata.
    pub metadata: Option<Metadata>,
}

impl NewUser {
    /// A user with a name only.
    #[must_use]
    pub fn named(username: Username) -> Self {
        Self { username, addr: None, password: None, metadata: None }
    }
}
