//! Failed requests to Cloud Storage: their meaning and the remedy. Pure: it sends no request.

use super::super::BackendError;
use super::super::error_text::error_chain;

/// A request that failed.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// A response with a status outside of 200 to 299, and its text.
    Status(u16, String),
    /// The credentials gave no token. `true` if a retry may succeed.
    Credentials(bool, String),
    /// No complete response. The request may have taken effect.
    NoResponse(String),
    /// The request could not be sent, or its response is too large. A retry would not help.
    NotSent(String),
}

impl RequestFailure {
    pub(super) fn from_google(error: &google_cloud_storage::Error) -> Self {
        let text = error_chain(error);
        if let Some(status) = error.http_status_code() {
            Self::Status(status, text)
        } else if error.is_authentication() {
            Self::Credentials(error.is_transient_and_before_rpc(), text)
        } else if error.is_binding() || error.is_serialization() {
            Self::NotSent(text)
        } else {
            // Includes responses that cannot be deserialized: Google's crate reports a truncated
            // response that way.
            Self::NoResponse(text)
        }
    }

    /// Whether the server reported that the bucket exists and the object does not.
    pub(super) fn is_object_not_found(&self) -> bool {
        matches!(self, Self::Status(404, text) if !text.contains("bucket does not exist"))
    }

    /// The error of a conditional write.
    pub(super) fn into_write_error(self, bucket: &str) -> BackendError {
        match self {
            Self::Status(412, _) => BackendError::Precondition,
            other => other.into_error(bucket),
        }
    }

    /// The error of any other request.
    pub(super) fn into_error(self, bucket: &str) -> BackendError {
        match self {
            Self::Status(status, text) => status_error(status, &text, bucket),
            Self::Credentials(true, text) | Self::NoResponse(text) => {
                BackendError::transient(format!("{text}; check this machine's network, DNS and proxy"))
            }
            Self::Credentials(false, text) => BackendError::Permanent(format!(
                "{text}; check the key file that GOOGLE_APPLICATION_CREDENTIALS names, and make a new key if it was revoked"
            )),
            Self::NotSent(text) => BackendError::Permanent(text),
        }
    }
}

/// The error of a response with this status, with the remedy.
fn status_error(status: u16, text: &str, bucket: &str) -> BackendError {
    // Cloud Storage reports some rate limits as "forbidden".
    let is_rate_limited = status == 403 && text.to_lowercase().contains("rate limit");
    if is_rate_limited || matches!(status, 408 | 409 | 429 | 500..) {
        return BackendError::transient(format!(
            "status {status}: {text}; try again later, and see https://status.cloud.google.com if it goes on"
        ));
    }
    let remedy = match status {
        401 => {
            "Google does not accept the key that GOOGLE_APPLICATION_CREDENTIALS names: make a new one, and check this \
                machine's clock"
                .to_owned()
        }
        403 => format!(
            "give the service account the role \"Storage Object Admin\" on the bucket {bucket} (Google Cloud console, \
             Cloud Storage, Permissions)"
        ),
        404 => format!(
            "there is no bucket {bucket:?}: check FIREBASE_BUCKET, which has the form your-project.firebasestorage.app or \
             your-project.appspot.com, and that Storage is set up in the Firebase console"
        ),
        _ => "this is a bug in Rollcall, or a fault of a proxy between Rollcall and Google".to_owned(),
    };
    BackendError::Permanent(format!("status {status}: {text}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, text: &str) -> RequestFailure {
        RequestFailure::Status(status, text.to_owned())
    }

    #[test]
    fn only_a_write_fails_with_a_precondition() {
        assert!(matches!(status(412, "").into_write_error("b"), BackendError::Precondition));
        assert!(matches!(status(412, "").into_error("b"), BackendError::Permanent(_)));
    }

    #[test]
    fn temporary_failures_are_transient() {
        for code in [408, 409, 429, 500, 502, 503, 504] {
            assert!(matches!(status(code, "").into_write_error("b"), BackendError::Transient { .. }), "{code}");
        }
        assert!(matches!(status(403, "Rate Limit Exceeded").into_error("b"), BackendError::Transient { .. }));
        assert!(matches!(
            RequestFailure::NoResponse("reset".into()).into_write_error("b"),
            BackendError::Transient { .. }
        ));
    }

    #[test]
    fn a_failure_that_the_operator_must_repair_names_the_remedy() {
        for (code, remedy) in [(401, "clock"), (403, "Storage Object Admin"), (404, "FIREBASE_BUCKET")] {
            let error = status(code, "no").into_error("my-bucket");
            assert!(matches!(&error, BackendError::Permanent(text) if text.contains(remedy)), "{error:?}");
        }
    }

    #[test]
    fn a_missing_object_and_a_missing_bucket_are_distinguished() {
        assert!(status(404, "No such object: b/users/alice/profile.json").is_object_not_found());
        assert!(!status(404, "The specified bucket does not exist.").is_object_not_found());
        assert!(!status(403, "").is_object_not_found());
    }
}
