//! Credentials of a request, and the reasons to reject them.

use std::net::IpAddr;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::fair_pool::Claimant;
use rollcall_core::{AddressBlock, BootMs, WallMs};

/// Credentials of a request, from the `Authorization` header.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// No credentials.
    None,
    /// A token.
    Bearer(&'a str),
    /// Base64 of `username:password`.
    Basic(&'a str),
    /// An unsupported or malformed header.
    Other,
}

/// Origin and time of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'c> {
    /// IP address of the client.
    pub from: IpAddr,
    /// Time of arrival on the boot clock.
    pub now: BootMs,
    /// Time of arrival on the wall clock.
    pub wall: WallMs,
    /// Cancelled when the connection of the client was displaced. Then no part of the request waits
    /// for a fair pool any more. `None` if the request cannot wait.
    pub connection: Option<&'c CancellationToken>,
}

impl<'c> Caller<'c> {
    /// The client as fair pools count it.
    pub(crate) fn claimant(&self) -> Claimant<'c> {
        Claimant { block: AddressBlock::of(self.from), connection: self.connection }
    }
}

/// Why credentials were rejected. `Display` tells the client what to do.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum DenialReason {
    /// The request has no credentials.
    #[error("send the token of a login as \"Authorization: Bearer TOKEN\"; POST /login gives one for the password")]
    Missing,
    /// The header is neither a bearer token nor Basic credentials.
    #[error("the Authorization header is neither \"Bearer TOKEN\" nor \"Basic\" with username:password in base64")]
    Malformed,
    /// The token's MAC is invalid: it is a token of another cluster, a modified token, or no token.
    #[error("the token is not one of this cluster's; log in again with POST /login")]
    Forged,
    /// The credentials belong to another user.
    #[error("the credentials are another user's; log in as this one with POST /login")]
    OtherUser,
    /// The token has expired.
    #[error("the token has expired; log in again with POST /login")]
    Expired,
    /// The password was changed after the token was issued.
    #[error("the token was given before the password was changed; log in again with POST /login")]
    Outdated,
    /// The password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
}
