//! Faults between S3 or Azure and their client: tests that both must pass, behind one fault proxy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{
    AzureConfig, Backend, BackendError, ConnectionConfig, CredentialVariables, Folder, Key, MAX_OBJECT_BYTES,
    ObjectStoreBackend, ObjectVersion,
};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

use super::suite::{self, profile, put};

/// A store behind a fault proxy.
pub(crate) struct FaultyStore {
    pub(crate) store: Arc<ObjectStoreBackend>,
    pub(crate) proxy: FaultProxy,
    pub(crate) codes: Codes,
}

/// The codes of a store for errors, each with its status, and a word of its remedy.
#[derive(Clone, Copy)]
pub(crate) struct Codes {
    pub(crate) missing_bucket: &'static str,
    pub(crate) overloaded: (u16, &'static str),
    pub(crate) permanent: &'static [(u16, &'static str, &'static str)],
}

/// The codes of S3.
pub(crate) const S3: Codes = Codes {
    missing_bucket: "NoSuchBucket",
    overloaded: (503, "SlowDown"),
    permanent: &[
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
        (404, "NoSuchBucket", "S3_BUCKET"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (501, "NotImplemented", "If-None-Match"),
    ],
};

/// Generates a test of each behaviour below. `$open()` returns a future. Its output is a
/// [`FaultyStore`] with an empty bucket, and a value that keeps the bucket alive.
macro_rules! every_object_store_fault {
    ($open:path) => {
        crate::storage::object_store_faults::every_object_store_fault! { $open =>
            a_temporary_failure_is_transient_and_costs_one_request, a_success_without_proof_is_an_error,
            only_the_stores_own_no_such_object_is_a_miss, a_failure_that_the_operator_must_repair_names_the_remedy,
            an_error_page_is_read_in_part_and_shown_as_one_line, a_body_that_is_too_large_is_refused,
            a_redirect_is_not_followed, the_wait_that_the_store_asks_for_is_kept, a_conflict_is_read_back,
            a_lost_response_is_read_back, a_truncated_listing_is_no_listing,
        }
    };
    ($open:path => $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let (store, _keep) = $open().await;
                crate::storage::object_store_faults::$behaviour(&store).await;
            }
        )*
    };
}
pub(crate) use every_object_store_fault;

/// An error of the store.
fn refusal(status: u16, code: &'static str) -> Answer {
    let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>refused</Message></Error>");
    Answer::html(status, xml).with_header("x-ms-error-code", code)
}

/// A page of a program between the store and its client.
fn page(status: u16) -> Answer {
    Answer::html(status, "<html>\n<body>no\n</html>")
}

impl FaultyStore {
    /// One call of each operation, directly to the store.
    async fn one_of_each(&self) -> [(&'static str, Option<BackendError>); 5] {
        let version = ObjectVersion("\"1\"".into());
        [
            ("create", self.store.create(&Key::Cluster, Bytes::from_static(b"x")).await.err()),
            ("replace", self.store.replace_if(&Key::Cluster, &version, Bytes::from_static(b"x")).await.err()),
            ("get", self.store.get(&Key::Cluster).await.err()),
            ("list", self.store.list(&Folder::Users, None).await.err()),
            ("delete", self.store.delete(&Key::Cluster).await.err()),
        ]
    }

    /// The errors of all operations under one fault. Checks that each costs one request.
    async fn errors(&self, fault: Fault) -> [(&'static str, Option<BackendError>); 5] {
        let before = self.proxy.requests().len();
        self.proxy.inject(Rule::always(fault));
        let errors = self.one_of_each().await;
        self.proxy.clear();
        assert_eq!(self.proxy.requests().len() - before, errors.len(), "a store sends one request and never retries");
        errors
    }

    fn bucket(&self) -> rollcall::storage::Bucket {
        suite::bucket(Arc::clone(&self.store) as Arc<dyn Backend>)
    }
}

pub(crate) async fn a_temporary_failure_is_transient_and_costs_one_request(store: &FaultyStore) {
    let (status, code) = store.codes.overloaded;
    let answers = [page(408), page(409), page(429), page(500), page(502), page(503), refusal(status, code)];
    for fault in answers.map(Fault::Answer).into_iter().chain([Fault::Cut]) {
        for (operation, error) in store.errors(fault.clone()).await {
            assert!(matches!(error, Some(BackendError::Transient { .. })), "{operation} under {fault:?}: {error:?}");
        }
    }
    assert_eq!(store.store.get(&Key::Cluster).await.unwrap(), None, "nothing was written");
}

pub(crate) async fn a_success_without_proof_is_an_error(store: &FaultyStore) {
    let bodies = ["{}", "[]", "", "<Error><Code>X</Code></Error>", "{\"error\":{\"code\":500}}", "<html></html>"];
    for answer in bodies.map(|body| Answer::html(200, body)) {
        for (operation, error) in store.errors(Fault::Answer(answer.clone())).await {
            let is_proof_needed = operation != "delete";
            let is_error = matches!(error, Some(BackendError::Transient { .. }));
            assert!(is_error || !is_proof_needed, "{operation} after {answer:?}: {error:?}");
        }
    }
}

pub(crate) async fn only_the_stores_own_no_such_object_is_a_miss(store: &FaultyStore) {
    for answer in [page(404), Answer::json(404, "{}"), Answer::html(404, ""), refusal(404, store.codes.missing_bucket)]
    {
        for (operation, error) in store.errors(Fault::Answer(answer.clone())).await {
            assert!(
                !matches!(error, None | Some(BackendError::Precondition)),
                "{operation}: {error:?} after {answer:?}"
            );
        }
    }
}

pub(crate) async fn a_failure_that_the_operator_must_repair_names_the_remedy(store: &FaultyStore) {
    for (status, code, remedy) in store.codes.permanent {
        for (operation, error) in store.errors(Fault::Answer(refusal(*status, code))).await {
            let Some(BackendError::Permanent(text)) = error else { panic!("{operation} after {code}: {error:?}") };
            assert!(text.contains(code) && text.contains(remedy), "{operation}: {text}");
        }
    }
}

pub(crate) async fn an_error_page_is_read_in_part_and_shown_as_one_line(store: &FaultyStore) {
    // The page never ends: a store that reads all of it never returns.
    let endless = Fault::EndlessBody(Answer::html(502, "<p>\u{1b}[31m\r\n".repeat(1000)));
    let errors = tokio::time::timeout(Duration::from_secs(20), store.errors(endless)).await.expect("it reads a part");
    for (operation, error) in errors {
        let text = error.expect("it failed").to_string();
        assert!(text.len() < 1000 && !text.contains(['\n', '\r', '\u{1b}']), "{operation}: {text:?}");
    }
}

pub(crate) async fn a_body_that_is_too_large_is_refused(store: &FaultyStore) {
    let large = Answer::html(200, vec![b'x'; MAX_OBJECT_BYTES + 1]).with_header("etag", "\"1\"");
    for fault in [Fault::Answer(large.clone()), Fault::EndlessBody(large)] {
        store.proxy.inject(Rule::once(fault));
        let error = store.store.get(&Key::Cluster).await.expect_err("it is too large");
        assert!(matches!(error, BackendError::Unreadable(_)), "{error:?}");
    }
}

pub(crate) async fn a_redirect_is_not_followed(store: &FaultyStore) {
    let answer = page(307).with_header("location", &format!("{}/elsewhere", store.proxy.url()));
    for (operation, error) in store.errors(Fault::Answer(answer)).await {
        assert!(!matches!(error, None | Some(BackendError::Precondition)), "{operation}: {error:?}");
    }
    assert!(!store.proxy.requests().iter().any(|request| request.uri.path().contains("elsewhere")));
}

pub(crate) async fn the_wait_that_the_store_asks_for_is_kept(store: &FaultyStore) {
    let (status, code) = store.codes.overloaded;
    for (operation, error) in store.errors(Fault::Answer(refusal(status, code).with_header("retry-after", "7"))).await {
        let Some(BackendError::Transient { retry_after, .. }) = error else { panic!("{operation}: {error:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(7)), "{operation}");
    }
}

pub(crate) async fn a_conflict_is_read_back(store: &FaultyStore) {
    let bucket = store.bucket();
    // The write takes effect, and the store reports a concurrent write.
    let conflict = || Rule::once(Fault::Replace(refusal(409, "ConditionalRequestConflict"))).method("PUT");
    store.proxy.inject(conflict());
    let version = put(&bucket, &profile("alice"), b"first").await;
    store.proxy.inject(conflict());
    let replaced = bucket.replace_if(&profile("alice"), &version, Bytes::from_static(b"second")).await.unwrap();
    let found = bucket.get(&profile("alice")).await.unwrap().expect("it exists");
    assert_eq!((found.bytes, Some(found.version)), (Bytes::from_static(b"second"), replaced));
}

pub(crate) async fn a_lost_response_is_read_back(store: &FaultyStore) {
    let bucket = store.bucket();
    for (name, fault) in [("cut", Fault::CutResponse), ("stalled", Fault::StallResponse)] {
        store.proxy.inject(Rule::once(fault.clone()).method("PUT"));
        let version = put(&bucket, &profile(name), b"first").await;
        store.proxy.inject(Rule::once(fault).method("PUT"));
        let replaced = bucket.replace_if(&profile(name), &version, Bytes::from_static(b"second")).await.unwrap();
        assert!(replaced.is_some(), "{name}");
    }
}

pub(crate) async fn a_truncated_listing_is_no_listing(store: &FaultyStore) {
    let bucket = store.bucket();
    for number in 0..5 {
        put(&bucket, &profile(&format!("user{number}")), b"{}").await;
    }
    store.proxy.inject(Rule::once(Fault::Truncate));
    assert_eq!(bucket.list(&Folder::Users).await.unwrap().len(), 5);
    for body in [
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated>",
        "<EnumerationResults><Blobs>",
    ] {
        store.proxy.inject(Rule::once(Fault::Answer(Answer::html(200, body))));
        let error = store.store.list(&Folder::Users, None).await.expect_err("it is no listing");
        assert!(matches!(error, BackendError::Transient { .. }), "{error:?}");
    }
}

/// An account of Azure whose tokens come from this service.
fn azure(service: &str, credential: (&'static str, &str)) -> AzureConfig {
    let variables = [("AZURE_AUTHORITY_HOST", service), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), credential];
    AzureConfig {
        account: "account".to_owned(),
        container: "container".to_owned(),
        prefix: String::new(),
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        connection: ConnectionConfig::default(),
        credentials: CredentialVariables::from_iter(variables.map(|(name, value)| (name, value.to_owned()))),
    }
}

#[tokio::test]
async fn a_service_that_quotes_the_credentials_of_a_request_reveals_none() {
    let proxy = FaultProxy::start("http://127.0.0.1:1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first-token").unwrap();
    let file = file.to_str().unwrap();
    for (credential, quoted) in [
        (("AZURE_CLIENT_SECRET", "secret/of~hidden"), "client_secret=secret%2Fof%7Ehidden (secret/of~hidden)"),
        (("AZURE_FEDERATED_TOKEN_FILE", file), "client_assertion=new-token-hidden"),
    ] {
        let store = ObjectStoreBackend::azure(&azure(&proxy.url(), credential)).expect("it is valid");
        // This token is known from the request alone.
        std::fs::write(file, "new-token-hidden").unwrap();
        proxy.inject(Rule::once(Fault::Answer(Answer::html(401, quoted))));
        let text = store.get(&Key::Cluster).await.expect_err("no token").to_string();
        assert!(text.contains("=***") && !text.contains("hidden"), "{text}");
    }
}
