//! The check of a bucket tells whether everybody can read the secrets.

use std::sync::Arc;

use rollcall::storage::bucket_check::{CheckOutcome, CheckStep, OpenFuture, check_bucket};
use rollcall::storage::{Bucket, GcsBackend, GcsConfig, Key, RetryPolicy, SecretStore};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fake_gcs::{FakeGcs, Public, bucket_name};

const STEP: &str = "read without credentials";
const TOKEN_PATH: &str = "/token";
const CLUSTER_KEY: &str = "the key of the cluster";

/// A bucket with credentials, whose requests pass through the proxy.
struct Site {
    fake: FakeGcs,
    proxy: FaultProxy,
    dir: tempfile::TempDir,
}

impl Site {
    fn start(public: Public) -> Self {
        let fake = FakeGcs::start();
        fake.set_public(public);
        let proxy = FaultProxy::start(&fake.url());
        let token = r#"{"access_token":"a token","token_type":"Bearer","expires_in":3600}"#;
        proxy.inject(Rule::always(Fault::Answer(Answer::json(200, token.to_owned()))).path(TOKEN_PATH));
        let dir = tempfile::tempdir().expect("a directory");
        let user = serde_json::json!({
            "type": "authorized_user", "client_id": "1", "client_secret": "s", "refresh_token": "r",
            "token_uri": format!("{}{TOKEN_PATH}", proxy.url()),
        });
        std::fs::write(dir.path().join("key.json"), user.to_string()).expect("writable");
        Self { fake, proxy, dir }
    }

    async fn backend(&self) -> GcsBackend {
        let config = GcsConfig::emulator(&bucket_name(), &self.proxy.url());
        let config = config.with_key_file(self.dir.path().join("key.json"));
        GcsBackend::connect(config).await.expect("the key file is valid")
    }

    async fn create_secret(&self, cluster_key: Option<&str>) {
        let bucket = Bucket::new(Arc::new(self.backend().await), RetryPolicy::default());
        let key = cluster_key.map(|key| key.parse().expect("long enough"));
        let secrets = SecretStore::new(bucket, Uuid::nil(), key);
        assert!(secrets.create(&Key::TokenKey, b"{}").await.expect("created").is_none());
    }

    /// Runs the check. Returns its outcome, and the step that reads without credentials.
    async fn check(&self) -> (CheckOutcome, CheckStep) {
        let open = |page_size: Option<usize>| -> OpenFuture<'_> {
            Box::pin(async move {
                let config = GcsConfig::emulator(&bucket_name(), &self.proxy.url());
                let config = config.with_key_file(self.dir.path().join("key.json"));
                let config = config.with_page_size(page_size.unwrap_or(1000));
                Ok(Arc::new(GcsBackend::connect(config).await.expect("the key file is valid")) as _)
            })
        };
        let mut found = None;
        let stop = CancellationToken::new();
        let outcome = check_bucket(open, RetryPolicy::default(), 7, &stop, |step| {
            if step.name == STEP {
                found = Some(step.clone());
            }
        });
        (outcome.await, found.expect("the check has the step"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_everybody_can_read_fails_the_check_unless_it_is_sealed() {
    for public in [Public::CloudStorage, Public::Firebase] {
        let site = Site::start(public);
        site.create_secret(None).await;
        let (outcome, step) = site.check().await;
        let error = step.result.expect_err("it is readable");
        assert_eq!(outcome, CheckOutcome::Failed, "{public:?}");
        assert!(error.contains("everybody can read secrets/tokens.json") && error.contains("deny secrets/"), "{error}");
        assert_eq!(site.fake.paths(), ["secrets/tokens.json"], "the objects of the check are deleted");

        let site = Site::start(public);
        site.create_secret(Some(CLUSTER_KEY)).await;
        let (outcome, step) = site.check().await;
        assert_eq!(outcome, CheckOutcome::Passed { unreadable_profiles: 0 }, "{public:?}");
        let facts = step.result.expect("it is sealed").facts;
        assert!(
            facts[0].contains("everybody can read") && facts[0].contains("the cluster_key protects it"),
            "{facts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_needs_credentials_passes_and_the_check_names_its_limit() {
    let site = Site::start(Public::Nothing);
    let facts = site.check().await.1.result.expect("there is no secret").facts;
    assert!(facts[0].contains("there is no secrets/tokens.json yet"), "{facts:?}");
    site.create_secret(None).await;
    let (outcome, step) = site.check().await;
    assert_eq!(outcome, CheckOutcome::Passed { unreadable_profiles: 0 });
    let facts = step.result.expect("it is refused").facts;
    assert!(facts[0].contains("cannot be read without credentials"), "{facts:?}");
    assert!(facts[0].contains("signed-in users"), "{facts:?}");
    let requests = site.proxy.requests();
    let anonymous: Vec<_> = requests
        .iter()
        .filter(|request| request.uri.path() != TOKEN_PATH && !request.headers.contains_key("authorization"))
        .map(|request| request.uri.to_string())
        .collect();
    let object = "b/your-project.firebasestorage.app/o/secrets%2Ftokens.json?alt=media";
    let mut expected = [format!("/storage/v1/{object}"), format!("/v0/{object}")].to_vec();
    let mut seen = anonymous.clone();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_not_answer_is_named_and_fails_no_step() {
    let site = Site::start(Public::Nothing);
    site.create_secret(None).await;
    site.proxy.inject(Rule::always(Fault::Answer(Answer::html(503, "busy"))).path("/v0/"));
    let (outcome, step) = site.check().await;
    assert_eq!(outcome, CheckOutcome::Passed { unreadable_profiles: 0 });
    let facts = step.result.expect("nothing is known").facts;
    assert!(facts[0].contains("nobody knows") && facts[0].contains("503"), "{facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_one_service_shows_fails_the_check_also_if_the_other_one_does_not_answer() {
    let site = Site::start(Public::CloudStorage);
    site.create_secret(None).await;
    site.proxy.inject(Rule::always(Fault::Answer(Answer::html(503, "busy"))).path("/v0/"));
    let (outcome, step) = site.check().await;
    assert_eq!(outcome, CheckOutcome::Failed);
    let error = step.result.expect_err("it is readable");
    assert!(error.contains("everybody can read secrets/tokens.json"), "{error}");
}
