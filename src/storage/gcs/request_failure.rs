//! Failed requests to Cloud Storage: their meaning and the remedy. Pure: it sends no request.

use google_cloud_auth::errors::CredentialsError;
use http::HeaderMap;

use super::super::BackendError;
use super::super::error_text::error_chain;
use super::super::google::{KnownRefusal, NETWORK_REMEDY, Refusal, credentials_error};

/// A request that failed.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// A response with a status outside of 200 to 299.
    Refused(Refusal),
    /// The credentials gave no token. No request was sent.
    Credentials(CredentialsError),
    /// No complete response, or a success that does not prove itself. The request may have taken
    /// effect.
    Unproven(String),
    /// The request could not be sent. A retry would not help.
    NotSent(String),
}

const KNOWN_REFUSALS: &[KnownRefusal] = &[
    KnownRefusal {
        reasons: &["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"],
        words: &["rate limit", "quota exceeded"],
        is_transient: true,
        remedy: "Google limits the rate of requests, and allows one write per object and second; try again later, and \
                 raise the project's quota if it goes on",
    },
    KnownRefusal {
        reasons: &["userProjectMissing"],
        words: &["requester pays"],
        is_transient: false,
        remedy: "turn off Requester Pays for this bucket (Google Cloud console, Cloud Storage, Configuration): Rollcall \
                 names no project that pays for its requests",
    },
    KnownRefusal {
        reasons: &["accountDisabled", "userProjectAccountProblem"],
        words: &["billing account", "billing to be enabled"],
        is_transient: false,
        remedy: "open the billing account of the bucket's project (Google Cloud console, Billing)",
    },
    KnownRefusal {
        reasons: &["retentionPolicyNotMet", "objectUnderActiveHold"],
        words: &[],
        is_transient: false,
        remedy: "remove the retention policy and the holds of this bucket (Google Cloud console, Cloud Storage, \
                 Protection)",
    },
    KnownRefusal {
        reasons: &["forbidden", "insufficientPermissions"],
        words: &["does not have storage."],
        is_transient: false,
        remedy: "give the service account the role \"Storage Object Admin\" on the bucket (Google Cloud console, Cloud \
                 Storage, Permissions)",
    },
    KnownRefusal {
        reasons: &[],
        words: &["bucket does not exist"],
        is_transient: false,
        remedy: "check FIREBASE_BUCKET, which has the form your-project.firebasestorage.app or your-project.appspot.com, \
                 and that Storage is set up in the Firebase console",
    },
    KnownRefusal {
        reasons: &[],
        words: &["crc32c", "md5"],
        is_transient: true,
        remedy: "the upload was changed on its way: look for a faulty network device or proxy",
    },
];

impl RequestFailure {
    /// The failure of a read by Google's client.
    pub(super) fn from_google(error: &google_cloud_storage::Error) -> Self {
        if let Some(status) = error.http_status_code() {
            let no_headers = HeaderMap::new();
            let headers = error.http_headers().unwrap_or(&no_headers);
            return Self::Refused(match (error.status(), error.http_payload()) {
                // The client has parsed an error object and dropped the rest of it.
                (Some(parsed), _) => Refusal::new(status, headers, true, None, &parsed.message),
                (None, Some(body)) => Refusal::parse(status, headers, body),
                (None, None) => Refusal::new(status, headers, false, None, &error_chain(error)),
            });
        }
        let source = std::error::Error::source(error);
        if let Some(credentials) = source.and_then(|source| source.downcast_ref::<CredentialsError>()) {
            Self::Credentials(credentials.clone())
        } else if error.is_binding() || error.is_serialization() {
            Self::NotSent(error_chain(error))
        } else {
            // Includes responses without a generation, with other bytes than their checksum says,
            // and truncated ones.
            Self::Unproven(error_chain(error))
        }
    }

    /// Whether Cloud Storage says that the bucket exists and has no object at `path`. Proxies
    /// answer 404, too, when the server is away.
    pub(super) fn is_object_not_found(&self, path: &str) -> bool {
        matches!(self, Self::Refused(refusal) if is_missing_object(refusal, path))
    }

    /// Whether the server did not accept the token.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused(Refusal { status: 401, .. }))
    }

    /// The error of a conditional write.
    pub(super) fn into_write_error(self) -> BackendError {
        match self {
            Self::Refused(Refusal { status: 412, .. }) => BackendError::Precondition,
            other => other.into_error(),
        }
    }

    /// The error of any other request.
    pub(super) fn into_error(self) -> BackendError {
        match self {
            Self::Refused(refusal) => refusal_error(&refusal),
            Self::Credentials(error) => credentials_error(&error, "GOOGLE_APPLICATION_CREDENTIALS"),
            Self::Unproven(text) => BackendError::transient(format!("{text}; {NETWORK_REMEDY}")),
            Self::NotSent(text) => BackendError::Permanent(text),
        }
    }
}

/// Whether a refusal says that the bucket exists and has no object at `path`.
fn is_missing_object(refusal: &Refusal, path: &str) -> bool {
    // The words of Cloud Storage and of Firebase's emulator, and those of Google's conformance
    // server. A page of HTML may repeat the path of the request, but not these words.
    refusal.status == 404
        && !refusal.is_html()
        && ((refusal.message.contains("No such object") && refusal.message.contains(path))
            || refusal.message.contains(&format!("{path} does not exist")))
}

/// The error of a refusal other than a precondition.
fn refusal_error(refusal: &Refusal) -> BackendError {
    let status = refusal.status;
    if matches!(status, 408 | 409 | 500..) {
        return refusal.transient("try again later, and see https://status.cloud.google.com if it goes on");
    }
    if let Some(known) = refusal.known(KNOWN_REFUSALS) {
        return if known.is_transient { refusal.transient(known.remedy) } else { refusal.permanent(known.remedy) };
    }
    match status {
        429 => refusal.transient(KNOWN_REFUSALS[0].remedy),
        401 if !refusal.is_html() => refusal.permanent(
            "Google does not accept the key that GOOGLE_APPLICATION_CREDENTIALS names: make a new one, and check \
             this machine's clock",
        ),
        _ if !refusal.is_error_object => refusal.transient(
            "this is no answer of Cloud Storage: check the proxies and load balancers between Rollcall and Google",
        ),
        // Google's client drops the reasons of its requests.
        403 if refusal.reason.is_none() => {
            refusal.transient("the reason is unknown: `rollcall storage check` shows it if it goes on")
        }
        403 => refusal.permanent(
            "look up the reason in Google's documentation of Cloud Storage, and repair the bucket's settings",
        ),
        _ => refusal.permanent("this is a bug in Rollcall, or a fault of a proxy between Rollcall and Google"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> RequestFailure {
        RequestFailure::Refused(Refusal::parse(status, &HeaderMap::new(), body.as_bytes()))
    }

    fn json(reason: &str, message: &str) -> String {
        serde_json::json!({ "error": { "message": message, "errors": [{ "reason": reason }] } }).to_string()
    }

    #[test]
    fn only_a_conditional_write_fails_with_a_precondition() {
        let body = json("conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
        assert!(matches!(refusal(412, &body).into_write_error(), BackendError::Precondition));
        assert!(matches!(refusal(412, &body).into_error(), BackendError::Permanent(_)));
    }

    #[test]
    fn temporary_failures_are_transient() {
        for status in [408, 409, 429, 500, 502, 503, 504] {
            assert!(matches!(refusal(status, "").into_write_error(), BackendError::Transient { .. }), "{status}");
        }
        assert!(matches!(RequestFailure::Unproven("reset".into()).into_error(), BackendError::Transient { .. }));
    }

    #[test]
    fn refusals_with_the_same_status_are_told_apart_by_their_reason() {
        for (status, reason, remedy) in [
            (403, "rateLimitExceeded", "raise the project's quota"),
            (403, "userRateLimitExceeded", "raise the project's quota"),
            (429, "rateLimitExceeded", "raise the project's quota"),
            (403, "forbidden", "Storage Object Admin"),
            (403, "accountDisabled", "billing account"),
            (400, "userProjectMissing", "Requester Pays"),
            (403, "retentionPolicyNotMet", "retention policy"),
            (403, "countryBlocked", "documentation"),
        ] {
            let error = refusal(status, &json(reason, "no")).into_error();
            assert!(error.to_string().contains(remedy), "{error}");
            assert_eq!(matches!(error, BackendError::Transient { .. }), reason.contains("imit"), "{error}");
        }
        let without_reason = refusal(403, r#"{"error":{"message":"no"}}"#).into_error();
        assert!(matches!(without_reason, BackendError::Transient { .. }));
    }

    #[test]
    fn the_plain_answers_to_reads_are_told_apart_by_their_words() {
        for (status, text, remedy) in [
            (
                403,
                "a@b.com does not have storage.objects.get access to the Google Cloud Storage object.",
                "Object Admin",
            ),
            (403, "The billing account for the owning project is disabled in state closed", "billing account"),
            (400, "Bucket is a requester pays bucket but no user project provided.", "Requester Pays"),
            (404, "The specified bucket does not exist.", "FIREBASE_BUCKET"),
            (401, "Invalid Credentials", "clock"),
        ] {
            let error = refusal(status, text).into_error();
            assert!(matches!(&error, BackendError::Permanent(text) if text.contains(remedy)), "{error:?}");
        }
        let limited = refusal(429, "The rate limit for object mutation operations was exceeded.").into_error();
        assert!(matches!(limited, BackendError::Transient { .. }));
    }

    #[test]
    fn an_answer_that_is_not_of_cloud_storage_is_transient() {
        for (status, body) in [
            (404, "<html>404 Not Found: /storage/v1/b/bucket/o/users%2Falice%2Fprofile.json</html>"),
            (404, "404 page not found"),
            (403, "<html>does not have storage. access</html>"),
            (401, "<html>log in</html>"),
            (302, ""),
            (400, "[]"),
        ] {
            let error = refusal(status, body).into_error();
            assert!(matches!(&error, BackendError::Transient { cause, .. } if cause.contains("prox")), "{error:?}");
        }
    }

    #[test]
    fn only_the_words_of_the_store_about_this_object_are_a_miss() {
        let path = "users/alice/profile.json";
        let nested = json("", &format!("Live version of object bucket/{path} does not exist."));
        let nested = json("", &nested);
        let json = json("notFound", &format!("No such object: bucket/{path}"));
        for miss in [&json, &format!("No such object: bucket/{path}"), &nested] {
            assert!(refusal(404, miss).is_object_not_found(path), "{miss}");
        }
        for failure in [
            "The specified bucket does not exist.",
            "No such object: bucket/users/bob/profile.json",
            "Not Found",
            "",
            &format!("<html>{path}</html>"),
            &format!("<html>No such object: bucket/{path}</html>"),
        ] {
            assert!(!refusal(404, failure).is_object_not_found(path), "{failure}");
        }
        assert!(!refusal(403, &json).is_object_not_found(path));
    }

    #[test]
    fn an_error_is_one_short_line() {
        for body in ["<html>\n<body>\r\n502</body>\n</html>".to_owned(), "x".repeat(1 << 20), json("a\nb", "c\nd")] {
            let text = refusal(502, &body).into_error().to_string();
            assert!(text.lines().count() == 1 && text.len() < 2000, "{text}");
        }
    }
}
