//! Every error a client can meet, and the one place that gives each its status and its code.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use thiserror::Error;

use super::json::Json;
use crate::registry::{
    AuthError, ImageError, ImageRejection, ImagesStreamError, LookupError, RegisterError, StorageUnavailable,
    UploadError, UsersError,
};
use rollcall_core::api::ErrorBody;
use rollcall_core::{InvalidAddr, InvalidMetadata, InvalidPassword, InvalidUsername};
use rollcall_election::Leader;

/// Seconds after which a client should try again when it is not its fault: about the time of an election.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// How a client may show for whom it acts; on every 401.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"rollcall\", Basic realm=\"rollcall\"");

const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable");
const OVERLOADED: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "overloaded");
const NO_MAJORITY: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "no_majority");
const INTERNAL: (StatusCode, &str) = (StatusCode::INTERNAL_SERVER_ERROR, "internal");

/// Why a request was refused. Display is the answer's `message`.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("This node is not the leader. Current leader: {}", .0.node)]
    NotLeader(Leader),
    #[error(
        "No leader is known at the moment: an election is under way, or most nodes are away; try again in a second"
    )]
    NoLeader,
    #[error("The body is not valid JSON: {0}")]
    InvalidJson(String),
    #[error("The body could not be read: {0}")]
    InvalidBody(String),
    #[error("Missing field \"{field}\": give {wanted}")]
    MissingField { field: &'static str, wanted: &'static str },
    #[error("Invalid \"{field}\": it is {found}, but must be {wanted}")]
    InvalidField { field: &'static str, found: String, wanted: &'static str },
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
    #[error("There is nothing at {0:?}")]
    NotFound(String),
    #[error("{method} is not possible at {path:?}; the Allow header names what is")]
    MethodNotAllowed { method: Method, path: String },
    #[error("The request took too long")]
    TooSlow,
    #[error("Too many connections; try again in a second")]
    TooManyConnections,
    #[error("Too many requests like this are under way; try again in a second")]
    Overloaded,
    #[error("This node has no copy of the leader's lists yet; ask the leader, or try again in a second")]
    NoCopy,
    #[error("Something went wrong in the server")]
    Internal(String),
}

/// What the log should say about a 5xx; it travels with the answer to the layer that knows the request.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) String);

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotLeader(_) => (StatusCode::FORBIDDEN, "not_leader"),
            Self::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::InvalidBody(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
            Self::MissingField { .. } => (StatusCode::BAD_REQUEST, "missing_field"),
            Self::InvalidField { .. } | Self::Metadata(_) => (StatusCode::BAD_REQUEST, "invalid_field"),
            Self::Username(_) => (StatusCode::BAD_REQUEST, "invalid_username"),
            Self::Addr(_) => (StatusCode::BAD_REQUEST, "invalid_addr"),
            Self::Password(_) => (StatusCode::BAD_REQUEST, "invalid_password"),
            Self::MissingImage(_) => (StatusCode::BAD_REQUEST, "missing_image"),
            Self::Storage(_) => UNAVAILABLE,
            Self::Lookup(error) => lookup(error),
            Self::Auth(error) => auth(error),
            Self::Register(error) => match error {
                RegisterError::Taken(_) => (StatusCode::CONFLICT, "user_exists"),
                RegisterError::Storage(_) => UNAVAILABLE,
                RegisterError::NotReplicated(_) => NO_MAJORITY,
                RegisterError::PasswordRequired => (StatusCode::BAD_REQUEST, "password_required"),
                RegisterError::Auth(error) => auth(error),
            },
            Self::Users(UsersError::IndexRebuilding) => (StatusCode::SERVICE_UNAVAILABLE, "index_rebuilding"),
            Self::Upload(error) => match error {
                UploadError::Auth(error) => auth(error),
                UploadError::Rejected(ImageRejection::Type | ImageRejection::Animated) => {
                    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "image_type")
                }
                UploadError::Rejected(ImageRejection::Dimensions { .. }) => {
                    (StatusCode::BAD_REQUEST, "image_dimensions")
                }
                UploadError::Rejected(ImageRejection::Corrupt(_)) => (StatusCode::BAD_REQUEST, "image_corrupt"),
                UploadError::Storage(_) => UNAVAILABLE,
                UploadError::NoFreeName => INTERNAL,
            },
            Self::Image(error) => match error {
                ImageError::NotFound => (StatusCode::NOT_FOUND, "image_not_found"),
                ImageError::Storage(_) => UNAVAILABLE,
            },
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::TooManyConnections => (StatusCode::SERVICE_UNAVAILABLE, "too_many_connections"),
            Self::Overloaded => OVERLOADED,
            Self::NoCopy => (StatusCode::SERVICE_UNAVAILABLE, "no_copy"),
            Self::Internal(_) => INTERNAL,
        }
    }

    /// What the client should do next, in a header.
    fn advice(&self, status: StatusCode) -> Option<(HeaderName, HeaderValue)> {
        match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, CHALLENGE)),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait_ms = match self {
                    Self::Auth(error)
                    | Self::Register(RegisterError::Auth(error))
                    | Self::Upload(UploadError::Auth(error)) => error.wait_ms(),
                    _ => 0,
                };
                Some((header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000).max(1))))
            }
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            _ => None,
        }
    }

    fn refusal(&self, code: &'static str) -> ErrorBody {
        let leader = if let Self::NotLeader(leader) = self { Some(leader) } else { None };
        let exists = matches!(self, Self::Register(RegisterError::Taken(_)));
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

    /// What the client is not told but the log should be. An election, and what was logged where it was found, is no
    /// news with every request that meets it.
    fn cause(&self) -> Option<Cause> {
        let cause = match self {
            Self::Storage(unavailable)
            | Self::Lookup(LookupError::Storage(unavailable))
            | Self::Register(RegisterError::Storage(unavailable))
            | Self::Upload(UploadError::Storage(unavailable))
            | Self::Image(ImageError::Storage(unavailable)) => unavailable.cause(),
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
        Some(Cause(cause))
    }
}

fn lookup(error: &LookupError) -> (StatusCode, &'static str) {
    match error {
        LookupError::NotRegistered(_) => (StatusCode::NOT_FOUND, "user_not_registered"),
        LookupError::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "profile_corrupt"),
        LookupError::Storage(_) => UNAVAILABLE,
    }
}

fn auth(error: &AuthError) -> (StatusCode, &'static str) {
    match error {
        AuthError::Lookup(error) => lookup(error),
        AuthError::Unauthorized(..) => (StatusCode::UNAUTHORIZED, "unauthorized"),
        AuthError::PasswordRequired(_) => (StatusCode::UNAUTHORIZED, "password_required"),
        AuthError::WrongPassword(_) => (StatusCode::UNAUTHORIZED, "wrong_password"),
        AuthError::NoPassword(_) => (StatusCode::CONFLICT, "no_password"),
        AuthError::TooManyAttempts { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
        AuthError::Overloaded | AuthError::Contended(_) => OVERLOADED,
        AuthError::Hashing(_) => INTERNAL,
        AuthError::NotReplicated(_) => NO_MAJORITY,
    }
}

impl From<ImagesStreamError> for ApiError {
    fn from(error: ImagesStreamError) -> Self {
        match error {
            ImagesStreamError::Busy => Self::Overloaded,
            ImagesStreamError::Storage(unavailable) => Self::Storage(unavailable),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut response = (status, Json(self.refusal(code))).into_response();
        if let Some((name, value)) = self.advice(status) {
            response.headers_mut().insert(name, value);
        }
        if let Some(cause) = self.cause() {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
