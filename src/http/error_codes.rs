//! The error table: every status and `code` of an error response of the API.
//!
//! [`super::error`] says which error gets which row.

use axum::http::StatusCode;

/// One row of the error table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode {
    /// The HTTP status of the response.
    pub status: StatusCode,
    /// The field `code` of the JSON body.
    pub code: &'static str,
}

/// Defines a constant for each row, and [`ERROR_CODES`] with all rows.
macro_rules! error_codes {
    ($($name:ident = $status:ident, $code:literal;)+) => {
        $(pub(super) const $name: ErrorCode = ErrorCode { status: StatusCode::$status, code: $code };)+

        /// All rows of the error table. A code with two statuses has two rows.
        pub const ERROR_CODES: &[ErrorCode] = &[$($name),+];
    };
}

error_codes! {
    INVALID_JSON = BAD_REQUEST, "invalid_json";
    INVALID_BODY = BAD_REQUEST, "invalid_body";
    MISSING_FIELD = BAD_REQUEST, "missing_field";
    INVALID_FIELD = BAD_REQUEST, "invalid_field";
    INVALID_USERNAME = BAD_REQUEST, "invalid_username";
    INVALID_ADDR = BAD_REQUEST, "invalid_addr";
    INVALID_PASSWORD = BAD_REQUEST, "invalid_password";
    PASSWORD_REQUIRED_TO_REGISTER = BAD_REQUEST, "password_required";
    MISSING_IMAGE = BAD_REQUEST, "missing_image";
    IMAGE_DIMENSIONS = BAD_REQUEST, "image_dimensions";
    HTTPS_REQUIRED = BAD_REQUEST, "https_required";
    IMAGE_CORRUPT = BAD_REQUEST, "image_corrupt";
    UNAUTHORIZED = UNAUTHORIZED, "unauthorized";
    WRONG_PASSWORD = UNAUTHORIZED, "wrong_password";
    PASSWORD_REQUIRED = UNAUTHORIZED, "password_required";
    NOT_LEADER = FORBIDDEN, "not_leader";
    ORIGIN_NOT_ALLOWED = FORBIDDEN, "origin_not_allowed";
    USER_NOT_REGISTERED = NOT_FOUND, "user_not_registered";
    IMAGE_NOT_FOUND = NOT_FOUND, "image_not_found";
    NOT_FOUND = NOT_FOUND, "not_found";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method_not_allowed";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT, "request_timeout";
    USER_EXISTS = CONFLICT, "user_exists";
    USER_EXISTS_COMPAT = BAD_REQUEST, "user_exists";
    NO_PASSWORD = CONFLICT, "no_password";
    QUOTA_EXCEEDED = CONFLICT, "quota_exceeded";
    BODY_TOO_LARGE = PAYLOAD_TOO_LARGE, "body_too_large";
    IMAGE_TYPE = UNSUPPORTED_MEDIA_TYPE, "image_type";
    TOO_MANY_ATTEMPTS = TOO_MANY_REQUESTS, "too_many_attempts";
    RATE_LIMITED = TOO_MANY_REQUESTS, "rate_limited";
    INTERNAL = INTERNAL_SERVER_ERROR, "internal";
    PROFILE_CORRUPT = INTERNAL_SERVER_ERROR, "profile_corrupt";
    NO_LEADER = SERVICE_UNAVAILABLE, "no_leader";
    NO_MAJORITY = SERVICE_UNAVAILABLE, "no_majority";
    NO_COPY = SERVICE_UNAVAILABLE, "no_copy";
    INDEX_REBUILDING = SERVICE_UNAVAILABLE, "index_rebuilding";
    STORAGE_UNAVAILABLE = SERVICE_UNAVAILABLE, "storage_unavailable";
    STORAGE_FULL = SERVICE_UNAVAILABLE, "storage_full";
    OVERLOADED = SERVICE_UNAVAILABLE, "overloaded";
    TOO_MANY_CONNECTIONS = SERVICE_UNAVAILABLE, "too_many_connections";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_an_error_and_stands_in_the_table_once() {
        for (index, row) in ERROR_CODES.iter().enumerate() {
            assert!(row.status.is_client_error() || row.status.is_server_error(), "{row:?}");
            assert!(row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{row:?}");
            assert!(!ERROR_CODES[..index].contains(row), "{row:?}");
        }
    }

    #[test]
    fn each_row_is_used_by_an_error() {
        let mapping = include_str!("error.rs");
        for row in ERROR_CODES {
            // The name of a constant begins with its code.
            let constant = format!("codes::{}", row.code.to_uppercase());
            assert!(mapping.contains(&constant), "no error has {row:?}");
        }
    }
}
