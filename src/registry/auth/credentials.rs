//! What a request shows to act for a user, and why it may not be good.

use std::net::IpAddr;

use thiserror::Error;

use rollcall_core::{BootMs, WallMs};

/// What a request brings along to show for whom it may act.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// A token.
    Bearer(&'a str),
    /// A username and a password, with a colon between them, in base64.
    Basic(&'a str),
    /// Something of another kind.
    Other,
}

/// From where a request came, and when.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address that it came from.
    pub from: IpAddr,
    /// When, on this machine's clock.
    pub now: BootMs,
    /// When, in the civil calendar.
    pub wall: WallMs,
}

/// Why credentials are not good. Display says what to do.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DenialReason {
    /// There are none.
    #[error("send the token of a login as \"Authorization: Bearer TOKEN\"; POST /login gives one for the password")]
    Missing,
    /// They are no bearer's token and no name with a password.
    #[error("the Authorization header is neither \"Bearer TOKEN\" nor \"Basic\" with username:password in base64")]
    Malformed,
    /// The token was not made here, or not for this, or was changed.
    #[error("the token is not one of this cluster's; log in again with POST /login")]
    Forged,
    /// They are somebody else's.
    #[error("the credentials are another user's; log in as this one with POST /login")]
    OtherUser,
    /// The token's time is over.
    #[error("the token has expired; log in again with POST /login")]
    Expired,
    /// The password was changed since the token was given.
    #[error("the token was given before the password was changed; log in again with POST /login")]
    Outdated,
    /// The password is not the user's.
    #[error("the password is wrong")]
    WrongPassword,
}
