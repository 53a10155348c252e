//! Errors of the API, and the row of the error table for each.
//!
//! The rows themselves are in [`super::error_codes`].

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use thiserror::Error;

use super::error_codes::{self as codes, ErrorCode};
use super::json::Json;
use crate::registry::{
    AuthError, ImageError, ImageRejection, LookupError, ReadError, RegisterError, StorageUnavailable, UploadError,
    UsersError,
};
use rollcall_core::api::ErrorBody;
use rollcall_core::{InvalidAddr, InvalidMetadata, InvalidPassword, InvalidUsername, Username};
use rollcall_election::Leader;

/// `Retry-After` of a 503, in seconds. An election takes about this long.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// `WWW-Authenticate` of every 401: the accepted authentication schemes.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"rollcall\", Basic realm=\"rollcall\"");

/// The reason why a request was rejected. `Display` gives the `message` of the response.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("This node is not the leader. Current leader: {}", .0.node)]
    NotLeader(Leader),
    #[error(
        "No leader is known at the moment: an election is in progress, or most nodes are unreachable; try again in a second"
    )]
    NoLeader,
    #[error("The body is not valid JSON: {0}")]
    InvalidJson(String),
    #[error("The body could not be read: {0}")]
    InvalidBody(String),
    #[error("Missing field \"{field}\": give {expected}")]
    MissingField { field: &'static str, expected: &'static str },
    #[error("Invalid \"{field}\": it is {found}, but must be {expected}")]
    InvalidField { field: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Username(#[from] InvalidUsername),
    #[error(transparent)]
    Addr(#[from] InvalidAddr),
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    #[error(transparent)]
    Password(#[from] InvalidPassword),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The username is taken, and the setting `discovery_server_compat` is on.
    #[error("{}", RegisterError::Taken(.0.clone()))]
    UserExistsCompat(Username),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    #[error("No image: {0}; send multipart/form-data with the image in the field \"image\"")]
    MissingImage(String),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("The body is too large: at most {} KiB are accepted here", .limit / 1024)]
    BodyTooLarge { limit: usize },
    #[error("There is no route {0:?}")]
    NotFound(String),
    #[error("{method} is not allowed at {path:?}; the Allow header lists the allowed methods")]
    MethodNotAllowed { method: Method, path: String },
    #[error("The request took too long")]
    RequestTimeout,
    /// The `Origin` of the request, if it has one.
    #[error(
        "A web page of the origin {:?} may not change anything here; the operator can allow it in cors_origins",
        .0.as_deref().unwrap_or("unknown")
    )]
    OriginNotAllowed(Option<String>),
    /// The https URL of this node.
    #[error("This port speaks https, and the request came by plain http; send it to {0}")]
    HttpsRequired(Arc<str>),
    #[error("Too many connections; try again in a second")]
    TooManyConnections,
    #[error("Too many requests of this kind are in progress; try again in a second")]
    Overloaded,
    #[error("This node has no copy of the leader's lists yet; ask the leader, or try again in a second")]
    NoCopy,
    #[error("Internal server error; the log of the node has the cause")]
    Internal(String),
}

/// The internal cause of a 5xx, for the log. The response carries it as an extension to the
/// middleware that logs failed requests.
#[derive(Clone, Debug)]
pub(super) struct InternalCause(pub(super) String);

impl ApiError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotLeader(_) => codes::NOT_LEADER,
            Self::NoLeader => codes::NO_LEADER,
            Self::InvalidJson(_) => codes::INVALID_JSON,
            Self::InvalidBody(_) => codes::INVALID_BODY,
            Self::MissingField { .. } => codes::MISSING_FIELD,
            Self::InvalidField { .. } | Self::Metadata(_) => codes::INVALID_FIELD,
            Self::Username(_) => codes::INVALID_USERNAME,
            Self::Addr(_) => codes::INVALID_ADDR,
            Self::Password(_) => codes::INVALID_PASSWORD,
            Self::MissingImage(_) => codes::MISSING_IMAGE,
            Self::Storage(error) => storage_code(error),
            Self::Lookup(error) => lookup_code(error),
            Self::Auth(error) => auth_code(error),
            Self::UserExistsCompat(_) => codes::USER_EXISTS_COMPAT,
            Self::Register(error) => match error {
                RegisterError::Name(_) => codes::INVALID_USERNAME,
                RegisterError::Metadata(_) => codes::INVALID_FIELD,
                RegisterError::Taken(_) => codes::USER_EXISTS,
                RegisterError::Storage(error) => storage_code(error),
                RegisterError::Overloaded(_) => codes::OVERLOADED,
                RegisterError::RateLimited(_) => codes::RATE_LIMITED,
                RegisterError::Quota(_) => codes::QUOTA_EXCEEDED,
                RegisterError::NotReplicated(_) => codes::NO_MAJORITY,
                RegisterError::PasswordRequired => codes::PASSWORD_REQUIRED_TO_REGISTER,
                RegisterError::Auth(error) => auth_code(error),
            },
            Self::Users(UsersError::IndexRebuilding) => codes::INDEX_REBUILDING,
            Self::Upload(error) => match error {
                UploadError::Auth(error) => auth_code(error),
                UploadError::Rejected(ImageRejection::Type | ImageRejection::Animated) => codes::IMAGE_TYPE,
                UploadError::Rejected(ImageRejection::Dimensions { .. }) => codes::IMAGE_DIMENSIONS,
                UploadError::Rejected(ImageRejection::Corrupt(_)) => codes::IMAGE_CORRUPT,
                UploadError::Storage(error) => storage_code(error),
                UploadError::Overloaded(_) => codes::OVERLOADED,
                UploadError::RateLimited(_) => codes::RATE_LIMITED,
                UploadError::Quota(_) => codes::QUOTA_EXCEEDED,
                UploadError::NoFreeName => codes::INTERNAL,
            },
            Self::Image(error) => match error {
                ImageError::NotFound => codes::IMAGE_NOT_FOUND,
                ImageError::Read(error) => read_code(error),
            },
            Self::BodyTooLarge { .. } => codes::BODY_TOO_LARGE,
            Self::NotFound(_) => codes::NOT_FOUND,
            Self::MethodNotAllowed { .. } => codes::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => codes::REQUEST_TIMEOUT,
            Self::OriginNotAllowed(_) => codes::ORIGIN_NOT_ALLOWED,
            Self::HttpsRequired(_) => codes::HTTPS_REQUIRED,
            Self::TooManyConnections => codes::TOO_MANY_CONNECTIONS,
            Self::Overloaded => codes::OVERLOADED,
            Self::NoCopy => codes::NO_COPY,
            Self::Internal(_) => codes::INTERNAL,
        }
    }

    /// The header that tells the client what to do next.
    fn hint_header(&self, status: StatusCode) -> Option<(HeaderName, HeaderValue)> {
        match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, CHALLENGE)),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait_ms = match self {
                    Self::Auth(error)
                    | Self::Register(RegisterError::Auth(error))
                    | Self::Upload(UploadError::Auth(error)) => error.wait_ms(),
                    Self::Register(RegisterError::RateLimited(limited))
                    | Self::Upload(UploadError::RateLimited(limited)) => limited.wait_ms(),
                    _ => 0,
                };
                Some((header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000).max(1))))
            }
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            _ => None,
        }
    }

    fn body(&self, code: &'static str) -> ErrorBody {
        let leader = if let Self::NotLeader(leader) = self { Some(leader) } else { None };
        let exists = matches!(self, Self::Register(RegisterError::Taken(_)) | Self::UserExistsCompat(_));
        ErrorBody {
            success: false,
            message: self.to_string(),
            code: Cow::Borrowed(code),
            error: exists.then_some(Cow::Borrowed("exists")),
            leader: leader.map(|leader| leader.node),
            leader_url: leader.map(|leader| leader.api_url.clone()),
            term: leader.map(|leader| leader.term),
        }
    }

    /// The cause for the log, which the client does not see. `None` if nothing must be logged: the
    /// message names the whole cause, or the cause was logged where it occurred.
    fn cause(&self) -> Option<InternalCause> {
        let cause = match self {
            Self::Storage(unavailable)
            | Self::Lookup(LookupError::Storage(unavailable))
            | Self::Register(RegisterError::Storage(unavailable))
            | Self::Upload(UploadError::Storage(unavailable))
            | Self::Image(ImageError::Read(ReadError::Storage(unavailable))) => unavailable.cause(),
            Self::Auth(error) | Self::Register(RegisterError::Auth(error)) | Self::Upload(UploadError::Auth(error)) => {
                match error {
                    AuthError::Lookup(LookupError::Storage(unavailable)) => unavailable.cause(),
                    AuthError::Hashing(cause) => cause.clone(),
                    _ => return None,
                }
            }
            Self::Internal(cause) => cause.clone(),
            Self::Upload(error @ UploadError::NoFreeName) => error.to_string(),
            _ => return None,
        };
        Some(InternalCause(cause))
    }
}

fn storage_code(error: &StorageUnavailable) -> ErrorCode {
    if error.is_full() { codes::STORAGE_FULL } else { codes::STORAGE_UNAVAILABLE }
}

fn lookup_code(error: &LookupError) -> ErrorCode {
    match error {
        LookupError::NotRegistered(_) => codes::USER_NOT_REGISTERED,
        LookupError::Corrupt(_) => codes::PROFILE_CORRUPT,
        LookupError::Storage(error) => storage_code(error),
        LookupError::Overloaded(_) => codes::OVERLOADED,
    }
}

fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::Overloaded(_) => codes::OVERLOADED,
        ReadError::Storage(error) => storage_code(error),
    }
}

fn auth_code(error: &AuthError) -> ErrorCode {
    match error {
        AuthError::Lookup(error) => lookup_code(error),
        AuthError::Unauthorized(..) => codes::UNAUTHORIZED,
        AuthError::PasswordRequired(_) => codes::PASSWORD_REQUIRED,
        AuthError::WrongPassword(_) => codes::WRONG_PASSWORD,
        AuthError::NoPassword(_) => codes::NO_PASSWORD,
        AuthError::TooManyAttempts { .. } => codes::TOO_MANY_ATTEMPTS,
        AuthError::Overloaded | AuthError::Contended(_) => codes::OVERLOADED,
        AuthError::Hashing(_) => codes::INTERNAL,
        AuthError::NotReplicated(_) => codes::NO_MAJORITY,
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overloaded(_) => Self::Overloaded,
            ReadError::Storage(unavailable) => Self::Storage(unavailable),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ErrorCode { status, code } = self.error_code();
        let mut response = (status, Json(self.body(code))).into_response();
        if let Some((name, value)) = self.hint_header(status) {
            response.headers_mut().insert(name, value);
        }
        if let Some(cause) = self.cause() {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
