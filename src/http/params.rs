//! Parameters of requests outside their bodies: path, query and client address.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use super::error::ApiError;
use super::limits::MAX_QUOTED_CHARS;
use rollcall_core::{InvalidUsername, Page, Username};

/// The path parameter `username`.
pub(super) struct UsernamePath(pub(super) Username);

/// The query `?limit=&after=&prefix=`.
pub(super) struct PageParams(pub(super) Page);

/// The address of the client, for every decision that depends on it. Behind a trusted proxy it is
/// the address that the proxy reports. `server.rs` attaches it to each request as an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddr(pub(super) IpAddr);

impl ClientAddr {
    pub(super) fn ip(self) -> IpAddr {
        self.0
    }
}

#[derive(Deserialize)]
struct UsernameSegment {
    username: String,
}

#[derive(Deserialize)]
struct PageQuery {
    limit: Option<String>,
    after: Option<String>,
    prefix: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for UsernamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<UsernameSegment>::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(Username::parse(&path.username)?)),
            // The percent-encoded bytes are not UTF-8.
            Err(_) => Err(InvalidUsername::not_text(parts.uri.path()).into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PageParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(Query(query)) = Query::<PageQuery>::from_request_parts(parts, state).await else {
            let expected = "?limit=, after= and prefix=, each at most once";
            return Err(ApiError::InvalidField { field: "query", found: "not readable".to_owned(), expected });
        };
        let limit = query.limit.as_deref().map(parse_limit).transpose()?;
        Ok(Self(Page { limit, after: query.after.unwrap_or_default(), prefix: query.prefix.unwrap_or_default() }))
    }
}

fn parse_limit(text: &str) -> Result<NonZeroUsize, ApiError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().ok_or_else(|| ApiError::InvalidField {
        field: "limit",
        found: quoted(text),
        expected: "a whole number from 1",
    })
}

/// The input in quotes, cut to [`MAX_QUOTED_CHARS`] characters for an error message.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(MAX_QUOTED_CHARS).collect::<String>())
}

impl<S: Sync> FromRequestParts<S> for ClientAddr {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::Internal("the request has no client address extension".to_owned());
        parts.extensions.get().copied().ok_or_else(missing)
    }
}
