//! Meaning of the failures of S3 and Azure, by the store's own codes, with the remedy. Pure.
//!
//! Sources: the error codes of Amazon S3 (API reference, "Error responses") and of Azure Blob
//! Storage (REST reference, "Blob service error codes").

use super::super::BackendError;
use super::http_failure::{HttpFailure, Responder, StatusFailure};

/// Store that answers, with the names that an operator can correct.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// A store with the API of Amazon S3.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Region for which requests are signed.
        region: String,
        /// URL of the store.
        url: String,
    },
    /// Azure Blob Storage.
    Azure {
        /// Name of the account.
        account: String,
        /// Name of the container.
        container: String,
        /// URL of the store.
        url: String,
    },
}

/// Consequence of a code, and the remedy. `None` if the code is unknown.
type CodeMeaning = Option<(Consequence, String)>;

/// Consequence of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Consequence {
    Transient,
    Permanent,
    Unreadable,
}

impl Store {
    /// Whether the store itself reports that this object does not exist. A missing bucket and a 404
    /// of a proxy are failures.
    pub(super) fn is_missing_object(&self, failure: &StatusFailure) -> bool {
        let code = match self {
            Self::S3 { .. } => "NoSuchKey",
            Self::Azure { .. } => "BlobNotFound",
        };
        failure.status == 404 && failure.code() == code
    }

    /// Whether the store refused a write because of our own precondition. Azure also answers 412
    /// for a lease, and 409 for an object that exists.
    pub(super) fn is_precondition(&self, failure: &StatusFailure) -> bool {
        match self {
            Self::S3 { .. } => matches!((failure.status, failure.code()), (412, "PreconditionFailed")),
            Self::Azure { .. } => {
                matches!((failure.status, failure.code()), (412, "ConditionNotMet") | (409, "BlobAlreadyExists"))
            }
        }
    }

    /// The error of a request that is neither a miss nor a refused precondition.
    pub(super) fn error(&self, failure: &HttpFailure) -> BackendError {
        match failure {
            HttpFailure::Status(Responder::Store, status) => self.status_error(status),
            HttpFailure::Status(Responder::CredentialsService(host), status) => {
                let text = format!("no credentials from {host}: {status}; {}", self.credentials_remedy());
                if is_temporary(status.status) { transient(status, text) } else { BackendError::Permanent(text) }
            }
            HttpFailure::NoResponse(Responder::Store, text) => BackendError::transient(format!(
                "{text}; check {}, and this machine's network, DNS and proxy",
                self.address()
            )),
            HttpFailure::NoResponse(Responder::CredentialsService(host), text) => {
                BackendError::transient(format!("no credentials from {host}: {text}; {}", self.credentials_remedy()))
            }
            HttpFailure::NoProof(text) => {
                BackendError::transient(format!("{text}; check {}, and any proxy on the way", self.address()))
            }
            HttpFailure::NotSent(text) => BackendError::Permanent(text.clone()),
            HttpFailure::TooLarge => BackendError::Unreadable(format!(
                "the object is larger than {} bytes, so it is not from Rollcall; delete it",
                super::super::MAX_OBJECT_BYTES
            )),
        }
    }

    fn status_error(&self, failure: &StatusFailure) -> BackendError {
        let meaning = match self {
            Self::S3 { bucket, region, .. } => s3_meaning(failure, bucket, region),
            Self::Azure { account, container, .. } => azure_meaning(failure, account, container),
        };
        let text = |remedy: &str| format!("{failure}; {remedy}");
        match (meaning, failure.status) {
            (Some((Consequence::Transient, remedy)), _) => transient(failure, text(&remedy)),
            (Some((Consequence::Permanent, remedy)), _) => BackendError::Permanent(text(&remedy)),
            (Some((Consequence::Unreadable, remedy)), _) => BackendError::Unreadable(text(&remedy)),
            // The header of a precondition, in stores that do not know it.
            (None, 501) if failure.code.is_some() => BackendError::Permanent(text(
                "this store lacks a function that Rollcall needs; use a store with If-None-Match and If-Match",
            )),
            (None, status) if is_temporary(status) => transient(failure, text("try again later")),
            // Without a code the response comes from another program. The store may have got the
            // request.
            (None, _) if failure.code.is_none() => transient(
                failure,
                text(&format!("this is no response of the store; check {}, and any proxy on the way", self.address())),
            ),
            (None, _) => BackendError::Permanent(text("see this code in the documentation of the store")),
        }
    }

    /// The settings with the address of the store.
    fn address(&self) -> String {
        match self {
            Self::S3 { url, .. } => format!("S3_ENDPOINT and AWS_REGION (the address is {url})"),
            Self::Azure { url, .. } => {
                format!("AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ENDPOINT (the address is {url})")
            }
        }
    }

    /// The remedy if there are no credentials.
    pub(super) fn credentials_remedy(&self) -> &'static str {
        match self {
            Self::S3 { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or pod a role (docs/storage.md)"
            }
            Self::Azure { .. } => {
                "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or give this machine or pod an identity \
                 (docs/storage.md)"
            }
        }
    }
}

/// Whether a retry may succeed after this status. A 409 means that another write is in progress.
fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..)
}

fn transient(failure: &StatusFailure, cause: String) -> BackendError {
    BackendError::Transient { cause, retry_after: failure.retry_after }
}

fn s3_meaning(failure: &StatusFailure, bucket: &str, region: &str) -> CodeMeaning {
    use Consequence::{Permanent, Transient, Unreadable};
    let found = |consequence, remedy: &str| Some((consequence, remedy.to_owned()));
    match failure.code() {
        "SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "TooManyRequests" | "Throttling" => {
            found(Transient, "the store is overloaded; try again later")
        }
        // The body changed on the way, and nothing was written.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" => {
            found(Transient, "look for a proxy that changes requests")
        }
        "NoSuchBucket" => {
            Some((Permanent, format!("make the bucket {bucket:?}, or correct S3_BUCKET, S3_ENDPOINT or AWS_REGION")))
        }
        "InvalidBucketName" => Some((Permanent, format!("{bucket:?} cannot be a bucket; correct S3_BUCKET"))),
        "AccessDenied" | "AllAccessDisabled" => Some((
            Permanent,
            format!(
                "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket {bucket} \
                 (docs/storage.md has a policy)"
            ),
        )),
        "InvalidAccessKeyId" => found(Permanent, "the store does not know this key; correct AWS_ACCESS_KEY_ID"),
        "SignatureDoesNotMatch" => {
            found(Permanent, "correct AWS_SECRET_ACCESS_KEY; if it is right, look for a proxy that changes requests")
        }
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" => {
            found(Permanent, "AWS_SESSION_TOKEN has expired or is wrong; make new temporary keys")
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            found(Permanent, "set this machine's clock; it is more than 15 minutes off")
        }
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Some((Permanent, region_remedy(failure, region))),
        "AccountProblem" | "NotSignedUp" | "InvalidPayer" => {
            found(Permanent, "the account has a problem, often with billing")
        }
        "InvalidObjectState" => {
            found(Unreadable, "the object is archived; restore it, and end the rule that archives objects")
        }
        _ if matches!(failure.status, 301 | 307 | 308) => Some((Permanent, region_remedy(failure, region))),
        _ => None,
    }
}

fn region_remedy(failure: &StatusFailure, region: &str) -> String {
    match &failure.region {
        Some(right) if right != region => format!("the bucket is in another region; set AWS_REGION to {right}"),
        _ => format!(
            "the bucket is not in the region {region} or not at this address; correct AWS_REGION or S3_ENDPOINT"
        ),
    }
}

fn azure_meaning(failure: &StatusFailure, account: &str, container: &str) -> CodeMeaning {
    use Consequence::{Permanent, Transient, Unreadable};
    let found = |consequence, remedy: &str| Some((consequence, remedy.to_owned()));
    match failure.code() {
        "ServerBusy" | "OperationTimedOut" | "InternalError" | "ContainerBeingDeleted" => {
            found(Transient, "the store is overloaded or busy; try again later")
        }
        "Md5Mismatch" => found(Transient, "look for a proxy that changes requests"),
        "ContainerNotFound" | "ContainerDisabled" => Some((
            Permanent,
            format!("make the container {container:?} in the account {account}, or correct AZURE_CONTAINER"),
        )),
        "ResourceNotFound" | "AccountIsDisabled" => {
            Some((Permanent, format!("check the account {account}; correct AZURE_STORAGE_ACCOUNT_NAME")))
        }
        "InvalidResourceName" | "OutOfRangeInput" => {
            Some((Permanent, format!("{container:?} cannot be a container; correct AZURE_CONTAINER")))
        }
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => found(
            Permanent,
            "correct AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN (a SAS may have expired), and check this machine's \
             clock",
        ),
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => Some((
            Permanent,
            format!(
                "give the identity the role \"Storage Blob Data Contributor\" on the container {container}, or a SAS the \
                 permissions racwdl"
            ),
        )),
        "AuthorizationFailure" | "AuthorizationSourceIPMismatch" | "PublicAccessNotPermitted" => Some((
            Permanent,
            format!(
                "let this machine through the firewall of the account {account} (Networking), and check \
                 AZURE_STORAGE_ACCOUNT_KEY"
            ),
        )),
        "AuthorizationProtocolMismatch" | "AccountRequiresHttps" => found(Permanent, "use https"),
        "AuthorizationServiceMismatch" | "AuthorizationResourceTypeMismatch" | "KeyBasedAuthenticationNotPermitted" => {
            found(Permanent, "the account refuses this kind of credentials; give an identity a role instead")
        }
        "UnauthorizedBlobOverwrite" => found(Permanent, "give the SAS the permissions racwdl"),
        "BlobArchived" => {
            found(Unreadable, "the object is archived; rehydrate it, and end the rule that archives objects")
        }
        "BlobImmutableDueToPolicy" | "LeaseIdMissing" => {
            found(Permanent, "end the immutability policy or the lease of the container and its objects")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn s3() -> Store {
        Store::S3 { bucket: "rollcall".into(), region: "us-east-1".into(), url: "https://s3.example".into() }
    }

    fn azure() -> Store {
        Store::Azure { account: "acct".into(), container: "rollcall".into(), url: "https://azure.example".into() }
    }

    fn status(status: u16, code: &str) -> StatusFailure {
        let code = (!code.is_empty()).then(|| code.to_owned());
        StatusFailure { status, code, message: "no".into(), region: Some("eu-west-1".into()), retry_after: None }
    }

    fn error(store: &Store, number: u16, code: &str) -> BackendError {
        store.error(&HttpFailure::Status(Responder::Store, status(number, code)))
    }

    #[test]
    fn only_the_stores_own_no_such_object_is_a_miss() {
        assert!(s3().is_missing_object(&status(404, "NoSuchKey")));
        assert!(azure().is_missing_object(&status(404, "BlobNotFound")));
        for code in ["", "NoSuchBucket", "ContainerNotFound", "ResourceNotFound"] {
            for store in [s3(), azure()] {
                assert!(!store.is_missing_object(&status(404, code)), "{code}");
            }
        }
    }

    #[test]
    fn a_precondition_is_told_from_a_lease_a_conflict_and_a_proxy() {
        assert!(s3().is_precondition(&status(412, "PreconditionFailed")));
        assert!(azure().is_precondition(&status(412, "ConditionNotMet")));
        assert!(azure().is_precondition(&status(409, "BlobAlreadyExists")));
        for (number, code) in [(412, ""), (412, "LeaseIdMissing"), (409, "ConditionalRequestConflict"), (409, "")] {
            assert!(!s3().is_precondition(&status(number, code)), "{number} {code}");
            assert!(!azure().is_precondition(&status(number, code)), "{number} {code}");
        }
    }

    #[test]
    fn a_conflict_an_overload_and_a_response_of_a_proxy_are_transient() {
        for (number, code) in [
            (409, "ConditionalRequestConflict"),
            (409, "OperationAborted"),
            (409, ""),
            (503, "SlowDown"),
            (400, "RequestTimeout"),
            (400, "XAmzContentSHA256Mismatch"),
            (500, ""),
            (429, ""),
            (404, ""),
            (403, ""),
            (412, ""),
        ] {
            assert!(matches!(error(&s3(), number, code), BackendError::Transient { .. }), "{number} {code}");
        }
        for (number, code) in
            [(503, "ServerBusy"), (500, "OperationTimedOut"), (409, "ContainerBeingDeleted"), (404, "")]
        {
            assert!(matches!(error(&azure(), number, code), BackendError::Transient { .. }), "{number} {code}");
        }
    }

    #[test]
    fn a_failure_that_the_operator_must_repair_names_the_setting_or_the_role() {
        for (store, number, code, remedy) in [
            (s3(), 403, "AccessDenied", "s3:PutObject"),
            (s3(), 403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
            (s3(), 403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
            (s3(), 403, "RequestTimeTooSkewed", "clock"),
            (s3(), 400, "ExpiredToken", "AWS_SESSION_TOKEN"),
            (s3(), 404, "NoSuchBucket", "S3_BUCKET"),
            (s3(), 301, "PermanentRedirect", "AWS_REGION to eu-west-1"),
            (s3(), 400, "AuthorizationHeaderMalformed", "AWS_REGION to eu-west-1"),
            (s3(), 501, "NotImplemented", "If-None-Match"),
            (s3(), 400, "AnythingElse", "documentation"),
            (azure(), 403, "AuthenticationFailed", "AZURE_STORAGE_ACCOUNT_KEY"),
            (azure(), 403, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor"),
            (azure(), 403, "AuthorizationFailure", "firewall"),
            (azure(), 404, "ContainerNotFound", "AZURE_CONTAINER"),
            (azure(), 412, "LeaseIdMissing", "lease"),
            (azure(), 409, "BlobImmutableDueToPolicy", "immutability"),
        ] {
            let error = error(&store, number, code);
            assert!(matches!(&error, BackendError::Permanent(text) if text.contains(remedy)), "{code}: {error:?}");
        }
    }

    #[test]
    fn the_wait_that_the_store_asks_for_is_kept() {
        let failure = StatusFailure { retry_after: Some(Duration::from_secs(7)), ..status(503, "SlowDown") };
        let error = s3().error(&HttpFailure::Status(Responder::Store, failure));
        assert!(matches!(error, BackendError::Transient { retry_after: Some(wait), .. } if wait.as_secs() == 7));
    }

    #[test]
    fn an_archived_object_affects_that_object_alone() {
        assert!(matches!(error(&s3(), 403, "InvalidObjectState"), BackendError::Unreadable(_)));
        assert!(matches!(error(&azure(), 409, "BlobArchived"), BackendError::Unreadable(_)));
    }

    #[test]
    fn a_failure_of_a_credentials_service_names_it_and_the_variables() {
        let peer = Responder::CredentialsService("169.254.169.254".into());
        for (failure, is_transient) in [
            (HttpFailure::Status(peer.clone(), status(404, "")), false),
            (HttpFailure::Status(peer.clone(), status(503, "")), true),
            (HttpFailure::NoResponse(peer, "refused".into()), true),
        ] {
            let error = s3().error(&failure);
            assert_eq!(matches!(error, BackendError::Transient { .. }), is_transient, "{error:?}");
            let text = error.to_string();
            assert!(text.contains("169.254.169.254") && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
        }
    }
}
