//! The `Authorization` header: the credentials with which a request acts for a user.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use super::pool_client::PoolClient;
use crate::registry::{Caller, Credentials, IssuedToken};
use rollcall_core::api::TokenGrant;
use rollcall_core::clock;

/// `Cache-Control` of responses that contain a token. They are for one client and must not be
/// cached.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The raw header, if the request has one. It is parsed only where credentials are needed.
pub(super) struct Authorization(Option<HeaderValue>);

impl Authorization {
    /// Copies the header from the headers of a request.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        Self(headers.get(header::AUTHORIZATION).cloned())
    }

    pub(super) fn credentials(&self) -> Credentials<'_> {
        let Some(value) = &self.0 else { return Credentials::None };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.trim_ascii().split_once(' ')) else {
            return Credentials::Other;
        };
        let rest = rest.trim_ascii_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            Credentials::Bearer(rest)
        } else if scheme.eq_ignore_ascii_case("basic") {
            Credentials::Basic(rest)
        } else {
            Credentials::Other
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Authorization {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_headers(&parts.headers))
    }
}

/// The caller of a request of this client, with the current time.
pub(super) fn caller(client: &PoolClient) -> Caller<'_> {
    let connection = Some(&client.connection.0);
    Caller { from: client.addr.ip(), now: clock::boot_now(), wall: clock::wall_now(), connection }
}

/// Converts a token to its JSON form.
pub(super) fn to_grant(issued_token: IssuedToken) -> TokenGrant {
    TokenGrant { token: issued_token.token, token_expires_at: issued_token.expires_at.to_rfc3339() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorization_scheme_is_case_insensitive_and_needs_credentials() {
        let kind = |text: &str| {
            let header = Authorization(Some(HeaderValue::from_str(text).unwrap()));
            match header.credentials() {
                Credentials::None => "none".to_owned(),
                Credentials::Bearer(token) => format!("bearer {token}"),
                Credentials::Basic(pair) => format!("basic {pair}"),
                Credentials::Other => "other".to_owned(),
            }
        };
        for (text, expected) in [
            ("Bearer x.y", "bearer x.y"),
            ("bearer  x", "bearer x"),
            ("BASIC eDp5", "basic eDp5"),
            ("Bearer", "other"),
            ("Digest x", "other"),
            ("", "other"),
            ("Bearerx y", "other"),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
        assert!(matches!(Authorization(None).credentials(), Credentials::None));
    }
}
