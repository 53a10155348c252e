//! What a failed request means, and what to do about it. Pure: no request is made here.

use std::error::Error;

use super::super::BackendError;

/// A request that failed.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// The server answered, with a status outside of 200 to 299.
    Status(u16, String),
    /// The credentials could not be turned into a token. `true` if that may pass by itself.
    Credentials(bool, String),
    /// No complete answer: it may have taken effect.
    NoResponse(String),
    /// The request could not be made.
    NotSent(String),
}

impl RequestFailure {
    pub(super) fn from_google(error: &google_cloud_storage::Error) -> Self {
        let text = with_causes(error);
        if let Some(status) = error.http_status_code() {
            Self::Status(status, text)
        } else if error.is_authentication() {
            Self::Credentials(error.is_transient_and_before_rpc(), text)
        } else if error.is_binding() || error.is_serialization() {
            Self::NotSent(text)
        } else {
            // An answer that broke off reads as one that cannot be deserialized, so that is no answer either.
            Self::NoResponse(text)
        }
    }

    /// Whether the server said that the bucket is there and the object is not.
    pub(super) fn is_object_not_found(&self) -> bool {
        matches!(self, Self::Status(404, text) if !text.contains("bucket does not exist"))
    }

    /// The failure of a conditional write.
    pub(super) fn into_write_error(self, bucket: &str) -> BackendError {
        match self {
            Self::Status(412, _) => BackendError::Precondition,
            other => other.into_error(bucket),
        }
    }

    /// The failure of anything else.
    pub(super) fn into_error(self, bucket: &str) -> BackendError {
        match self {
            Self::Status(status, text) => status_error(status, &text, bucket),
            Self::Credentials(true, text) | Self::NoResponse(text) => {
                BackendError::Transient(format!("{text}; check this machine's network, DNS and proxy"))
            }
            Self::Credentials(false, text) => BackendError::Permanent(format!(
                "{text}; check the key file that GOOGLE_APPLICATION_CREDENTIALS names, and make a new key if it was revoked"
            )),
            Self::NotSent(text) => BackendError::Permanent(text),
        }
    }
}

fn status_error(status: u16, text: &str, bucket: &str) -> BackendError {
    // Cloud Storage calls some limits on the rate of requests "forbidden".
    let too_fast = status == 403 && text.to_lowercase().contains("rate limit");
    if too_fast || matches!(status, 408 | 409 | 429 | 500..) {
        return BackendError::Transient(format!(
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
        _ => "this is a fault in Rollcall or in what stands between it and Google".to_owned(),
    };
    BackendError::Permanent(format!("status {status}: {text}; {remedy}"))
}

/// An error and what caused it, each said once.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, text: &str) -> RequestFailure {
        RequestFailure::Status(status, text.to_owned())
    }

    #[test]
    fn only_a_write_has_a_precondition() {
        assert!(matches!(status(412, "").into_write_error("b"), BackendError::Precondition));
        assert!(matches!(status(412, "").into_error("b"), BackendError::Permanent(_)));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [408, 409, 429, 500, 502, 503, 504] {
            assert!(matches!(status(code, "").into_write_error("b"), BackendError::Transient(_)), "{code}");
        }
        assert!(matches!(status(403, "Rate Limit Exceeded").into_error("b"), BackendError::Transient(_)));
        assert!(matches!(RequestFailure::NoResponse("reset".into()).into_write_error("b"), BackendError::Transient(_)));
    }

    #[test]
    fn what_a_person_must_mend_says_how() {
        for (code, remedy) in [(401, "clock"), (403, "Storage Object Admin"), (404, "FIREBASE_BUCKET")] {
            let error = status(code, "no").into_error("my-bucket");
            assert!(matches!(&error, BackendError::Permanent(text) if text.contains(remedy)), "{error:?}");
        }
    }

    #[test]
    fn a_missing_object_is_told_from_a_missing_bucket() {
        assert!(status(404, "No such object: b/users/alice/profile.json").is_object_not_found());
        assert!(!status(404, "The specified bucket does not exist.").is_object_not_found());
        assert!(!status(403, "").is_object_not_found());
    }
}
