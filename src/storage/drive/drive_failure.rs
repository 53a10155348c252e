//! Failed requests to Drive: their meaning and the remedy. Pure: it sends no request.

use google_cloud_auth::errors::CredentialsError;

use super::super::google::{KnownRefusal, NETWORK_REMEDY, Refusal, credentials_error};
use super::super::{BackendError, MAX_OBJECT_BYTES};

/// A request that failed.
#[derive(Debug)]
pub(super) enum DriveFailure {
    /// A response with a status outside of 200 to 299.
    Refused(Refusal),
    /// The credentials gave no token. No request was sent.
    Credentials(CredentialsError),
    /// No complete response, or a success that does not prove itself. The request may have taken
    /// effect.
    Unproven(String),
    /// The account does not see the folder, although it did before.
    FolderNotFound,
    /// The content is larger than [`MAX_OBJECT_BYTES`].
    TooLarge,
    /// A write into a folder that was opened for reading only. No request was sent.
    ReadOnly,
}

/// Remedy if the account may not use the folder.
pub(super) const ACCESS_REMEDY: &str = "add the service account (`client_email` in its key file) to the shared drive as Content manager: \
    Google Drive, the shared drive, Manage members";

const KNOWN_REFUSALS: &[KnownRefusal] = &[
    KnownRefusal {
        reasons: &["rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"],
        words: &["rate limit exceeded"],
        is_transient: true,
        remedy: "Google limits the rate of requests; try again later, and raise the project's quota if it goes on \
                 (Google Cloud console, Google Drive API, Quotas)",
    },
    KnownRefusal {
        reasons: &["teamDriveFileLimitExceeded", "numChildrenInNonRootLimitExceeded"],
        words: &[],
        is_transient: false,
        remedy: "a shared drive holds 500,000 items, those in the trash included: use another drive for other files, or \
                 another store",
    },
    KnownRefusal {
        reasons: &[],
        words: &["file id is not usable"],
        is_transient: false,
        remedy: "the drive refuses an id that it has reserved for the slot table; its documents do not say how long such an \
                 id is valid (docs/design/storage.md), so use another storage, and report this",
    },
    KnownRefusal {
        reasons: &["storageQuotaExceeded", "quotaExceeded"],
        words: &["storage quota"],
        is_transient: false,
        remedy: "a service account has no storage of its own: use a folder of a shared drive whose organisation has \
                 storage left",
    },
    KnownRefusal {
        reasons: &["accessNotConfigured", "SERVICE_DISABLED"],
        words: &["has not been used in project", "api is not enabled"],
        is_transient: false,
        remedy: "turn on the Google Drive API in the project of the service account (Google Cloud console, APIs and \
                 services, Library)",
    },
    KnownRefusal {
        reasons: &[
            "insufficientFilePermissions",
            "insufficientPermissions",
            "insufficientParentPermissions",
            "forbidden",
            "appNotAuthorizedToFile",
            "domainPolicy",
            "teamDriveMembershipRequired",
        ],
        words: &[],
        is_transient: false,
        remedy: ACCESS_REMEDY,
    },
];

impl DriveFailure {
    /// Whether the drive says that there is no file with this id, or that the account may not see
    /// it: the two answers are the same.
    pub(super) fn is_file_not_found(&self, id: &str) -> bool {
        matches!(self, Self::Refused(refusal)
            if refusal.status == 404
                && refusal.is_error_object
                && refusal.reason.as_deref() == Some("notFound")
                && refusal.message.contains(id))
    }

    /// Whether a create found its id in use.
    pub(super) fn is_id_taken(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 409 && refusal.is_error_object)
    }

    /// Whether the file has another etag than the one that a write required.
    pub(super) fn is_precondition_failed(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 412 && refusal.is_error_object)
    }

    /// Whether the drive did not accept the token.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 401)
    }
}

impl From<DriveFailure> for BackendError {
    fn from(failure: DriveFailure) -> Self {
        match failure {
            DriveFailure::Refused(refusal) => refusal_error(&refusal),
            DriveFailure::Credentials(error) => credentials_error(&error, "GOOGLE_CREDENTIALS"),
            DriveFailure::Unproven(text) => Self::transient(format!("{text}; {NETWORK_REMEDY}")),
            DriveFailure::FolderNotFound => Self::Permanent(format!(
                "the drive has no folder REGISTERED_USERS_FOLDER_ID any more, or the account has lost its access; \
                 {ACCESS_REMEDY}"
            )),
            DriveFailure::ReadOnly => Self::Permanent("the folder of the drive was opened for reading only".to_owned()),
            DriveFailure::TooLarge => Self::Unreadable(format!(
                "the file is larger than {MAX_OBJECT_BYTES} bytes; Rollcall did not write it, move it away"
            )),
        }
    }
}

fn refusal_error(refusal: &Refusal) -> BackendError {
    if matches!(refusal.status, 408 | 409 | 500..) {
        return refusal.transient("try again later, and see https://www.google.com/appsstatus if it goes on");
    }
    if let Some(known) = refusal.known(KNOWN_REFUSALS) {
        return if known.is_transient { refusal.transient(known.remedy) } else { refusal.permanent(known.remedy) };
    }
    match refusal.status {
        429 => refusal.transient(KNOWN_REFUSALS[0].remedy),
        _ if !refusal.is_error_object => refusal.transient(
            "this is no answer of Google Drive: check the proxies and load balancers between Rollcall and Google",
        ),
        401 => refusal.permanent(
            "Google does not accept the key that GOOGLE_CREDENTIALS names: make a new one, and check this machine's clock",
        ),
        404 => refusal.permanent("check SHARED_DRIVE_ID and REGISTERED_USERS_FOLDER_ID, and that the account may see both"),
        403 => refusal.permanent("look up the reason in Google's documentation of the Drive API, and repair the drive's settings"),
        _ => refusal.permanent("this is a bug in Rollcall, or a fault of a proxy between Rollcall and Google"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn refused(status: u16, body: &str) -> DriveFailure {
        DriveFailure::Refused(Refusal::parse(status, &HeaderMap::new(), body.as_bytes()))
    }

    fn json(reason: &str, message: &str) -> String {
        serde_json::json!({ "error": { "message": message, "errors": [{ "reason": reason }] } }).to_string()
    }

    #[test]
    fn only_the_words_of_the_drive_about_this_file_are_a_miss() {
        assert!(refused(404, &json("notFound", "File not found: id-7.")).is_file_not_found("id-7"));
        for (status, body) in [
            (404, json("notFound", "File not found: id-8.")),
            (404, json("other", "File not found: id-7.")),
            (403, json("notFound", "File not found: id-7.")),
            (404, "<html>File not found: id-7.</html>".to_owned()),
            (404, String::new()),
        ] {
            assert!(!refused(status, &body).is_file_not_found("id-7"), "{status} {body}");
        }
    }

    #[test]
    fn only_the_drives_own_conflict_says_that_an_id_is_taken() {
        assert!(refused(409, &json("fileIdInUse", "A file already exists with the provided ID.")).is_id_taken());
        assert!(!refused(409, "<html>conflict</html>").is_id_taken());
        assert!(!refused(400, &json("fileIdInUse", "no")).is_id_taken());
    }

    #[test]
    fn refusals_with_the_same_status_are_told_apart_by_their_reason() {
        for (status, reason, remedy) in [
            (403, "rateLimitExceeded", "raise the project's quota"),
            (403, "userRateLimitExceeded", "raise the project's quota"),
            (429, "rateLimitExceeded", "raise the project's quota"),
            (429, "", "raise the project's quota"),
            (403, "teamDriveFileLimitExceeded", "500,000"),
            (403, "storageQuotaExceeded", "shared drive"),
            (403, "accessNotConfigured", "Google Drive API"),
            (403, "insufficientFilePermissions", "Content manager"),
            (403, "anything", "documentation"),
            (404, "notFound", "SHARED_DRIVE_ID"),
            (401, "authError", "GOOGLE_CREDENTIALS"),
            (400, "invalid", "bug"),
        ] {
            let error = BackendError::from(refused(status, &json(reason, "no")));
            assert!(error.to_string().contains(remedy), "{error}");
            let is_transient = matches!(error, BackendError::Transient { .. });
            assert_eq!(is_transient, reason.contains("ateLimit") || status == 429, "{error}");
        }
    }

    #[test]
    fn an_overload_and_an_answer_that_is_not_of_the_drive_are_transient() {
        for status in [408, 409, 429, 500, 502, 503] {
            assert!(matches!(BackendError::from(refused(status, "")), BackendError::Transient { .. }), "{status}");
        }
        for (status, body) in [(404, "<html>404</html>"), (403, "Forbidden"), (401, "<html>log in</html>"), (302, "")] {
            let error = BackendError::from(refused(status, body));
            assert!(matches!(&error, BackendError::Transient { cause, .. } if cause.contains("prox")), "{error:?}");
        }
    }
}
