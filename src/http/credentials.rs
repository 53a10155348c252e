//! The Authorization header: what a request brings along to act for a user.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use super::params::Remote;
use crate::registry::{Caller, Credentials, IssuedToken};
use rollcall_core::api::TokenGrant;
use rollcall_core::clock;

/// What carries a token is for one client and for no cache.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The header as it came, if there is one. It is looked into only where somebody must be known.
pub(super) struct Authorization(Option<HeaderValue>);

impl Authorization {
    /// That of a request with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
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
        Ok(Self::of(&parts.headers))
    }
}

/// Who asks from there, at this moment.
pub(super) fn caller(remote: Remote) -> Caller {
    Caller { from: remote.ip(), now: clock::boot_now(), wall: clock::wall_now() }
}

/// A token as it is sent.
pub(super) fn grant(granted: IssuedToken) -> TokenGrant {
    TokenGrant { token: granted.token, token_expires_at: granted.expires_at.to_rfc3339() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_as_the_standard_says() {
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
