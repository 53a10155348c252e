//! The Cloud Storage store on [`FakeGcs`]: the suite, and the behaviour that only this store has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{
    Backend, BackendError, Bucket, CreateOutcome, Folder, GcsBackend, GcsConfig, Key, ObjectVersion,
};

use rollcall_core::BucketName;

use super::failures::{FailingStore, Failure, every_failure};
use super::fake_gcs::{FakeGcs, Fault, bucket_name};
use super::suite::{self, PAGE_SIZE, every_behaviour, image, profile, put, user};

async fn connect(fake: &FakeGcs, bucket: &BucketName) -> Arc<GcsBackend> {
    let config = GcsConfig::emulator(bucket, &fake.url()).with_page_size(PAGE_SIZE);
    Arc::new(GcsBackend::connect(config).await.expect("it needs no credentials"))
}

async fn open() -> (Bucket, FakeGcs) {
    let fake = FakeGcs::start();
    (suite::bucket(connect(&fake, &bucket_name()).await), fake)
}

every_behaviour!(super::gcs::open);

struct FailingGcs {
    bucket: Bucket,
    fake: FakeGcs,
}

impl FailingStore for FailingGcs {
    fn bucket(&self) -> Bucket {
        self.bucket.clone()
    }

    fn inject(&self, count: usize, failure: Failure) {
        let fault = match failure {
            Failure::Transient => Fault::Status(503),
            Failure::Permanent => Fault::Status(403),
            Failure::LostResponse => Fault::LoseResponse,
            Failure::Hang => Fault::Hang,
        };
        self.fake.faults().inject(count, fault);
    }

    fn calls(&self) -> usize {
        self.fake.faults().requests()
    }
}

async fn open_failing() -> FailingGcs {
    let (bucket, fake) = open().await;
    FailingGcs { bucket, fake }
}

every_failure!(super::gcs::open_failing);

/// One call of each operation, directly to the store.
async fn one_of_each(store: &GcsBackend) -> [(&'static str, Option<BackendError>); 5] {
    let version = ObjectVersion("1".into());
    [
        ("create", store.create(&Key::Cluster, Bytes::new()).await.err()),
        ("replace", store.replace_if(&Key::Cluster, &version, Bytes::new()).await.err()),
        ("get", store.get(&Key::Cluster).await.err()),
        ("list", store.list(&Folder::Users, None).await.err()),
        ("delete", store.delete(&Key::Cluster).await.err()),
    ]
}

#[tokio::test]
async fn every_temporary_failure_is_transient_and_the_store_never_retries() {
    let fake = FakeGcs::start();
    let store = connect(&fake, &bucket_name()).await;
    for fault in [Fault::Status(408), Fault::Status(429), Fault::Status(500), Fault::Status(503), Fault::Cut] {
        let before = fake.faults().requests();
        fake.faults().set_outage(Some(fault));
        for (operation, error) in one_of_each(&store).await {
            assert!(matches!(error, Some(BackendError::Transient { .. })), "{operation} under {fault:?}: {error:?}");
        }
        assert_eq!(fake.faults().requests() - before, 5, "{fault:?}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn every_failure_that_the_operator_must_repair_is_permanent_and_names_the_remedy() {
    let fake = FakeGcs::start();
    let store = connect(&fake, &bucket_name()).await;
    for (status, remedy) in [(401, "make a new one"), (403, "Storage Object Admin"), (404, "FIREBASE_BUCKET")] {
        fake.faults().set_outage(Some(Fault::Status(status)));
        for (operation, error) in one_of_each(&store).await {
            let Some(BackendError::Permanent(text)) = error else { panic!("{operation} under {status}: {error:?}") };
            assert!(text.contains(remedy), "{operation} under {status}: {text}");
        }
    }
}

#[tokio::test]
async fn a_missing_bucket_is_not_an_empty_bucket() {
    let fake = FakeGcs::start();
    let store = connect(&fake, &BucketName::parse("another.appspot.com").unwrap()).await;
    for (operation, error) in one_of_each(&store).await {
        let Some(BackendError::Permanent(text)) = error else { panic!("{operation}: {error:?}") };
        assert!(text.contains("check FIREBASE_BUCKET"), "{text}");
    }
}

#[tokio::test]
async fn a_truncated_response_counts_as_no_response() {
    let (bucket, fake) = open().await;
    fake.faults().inject(1, Fault::CutResponse);
    put(&bucket, &Key::Cluster, b"first").await;
    fake.faults().inject(1, Fault::CutResponse);
    assert_eq!(bucket.get(&Key::Cluster).await.unwrap().expect("it is there").bytes, "first");
    put(&bucket, &Key::Check(1), b"").await;
    fake.faults().inject(1, Fault::CutResponse);
    assert_eq!(bucket.list(&Folder::Checks).await.unwrap(), ["00000001.txt"]);
}

#[tokio::test]
async fn the_store_does_not_resume_a_truncated_read() {
    let fake = FakeGcs::start();
    let store = connect(&fake, &bucket_name()).await;
    store.create(&Key::Cluster, Bytes::from_static(b"first")).await.unwrap();
    fake.faults().inject(1, Fault::CutResponse);
    assert!(matches!(store.get(&Key::Cluster).await, Err(BackendError::Transient { .. })));
    assert_eq!(fake.faults().requests(), 2);
}

#[tokio::test]
async fn a_write_is_retried_if_its_precondition_was_refused_without_an_object() {
    let (bucket, fake) = open().await;
    // The server refuses the write, but there is no object: it may have just been deleted. So the
    // write is retried.
    fake.faults().inject(1, Fault::Status(412));
    put(&bucket, &Key::Cluster, b"first").await;
    assert_eq!(fake.faults().requests(), 3);
}

#[tokio::test]
async fn a_slow_response_within_the_deadline_is_accepted() {
    let (bucket, fake) = open().await;
    fake.faults().inject(1, Fault::Slow(Duration::from_millis(50)));
    let created = bucket.create(&Key::Cluster, Bytes::new()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created(_)));
    assert_eq!(fake.faults().requests(), 1);
}

#[tokio::test]
async fn objects_are_stored_with_their_media_type() {
    let (bucket, fake) = open().await;
    put(&bucket, &profile("alice"), b"{}").await;
    put(&bucket, &Key::Image(user("alice"), image(1)), b"png").await;
    let image = format!("users/alice/images/{}", image(1));
    assert_eq!(fake.media_type("users/alice/profile.json").as_deref(), Some("application/json"));
    assert_eq!(fake.media_type(&image).as_deref(), Some("image/png"));
}

#[tokio::test]
async fn a_refused_connection_is_transient() {
    // The port of a fake that has just been dropped.
    let url = FakeGcs::start().url();
    tokio::task::yield_now().await;
    let store = GcsBackend::connect(GcsConfig::emulator(&bucket_name(), &url)).await.unwrap();
    for (operation, error) in one_of_each(&store).await {
        assert!(matches!(error, Some(BackendError::Transient { .. })), "{operation}: {error:?}");
    }
}

#[tokio::test]
async fn an_emulator_address_may_have_a_scheme() {
    let fake = FakeGcs::start();
    let bare = fake.url().trim_start_matches("http://").to_owned();
    for host in [fake.url(), bare, fake.url() + "/"] {
        let store = GcsBackend::connect(GcsConfig::emulator(&bucket_name(), &host)).await.unwrap();
        assert_eq!(store.get(&Key::Cluster).await.unwrap(), None, "{host}");
        assert!(store.describe().contains(&fake.url()), "{}", store.describe());
    }
}

#[tokio::test]
async fn invalid_connection_settings_are_reported_before_any_request() {
    for (config, word) in [
        (GcsConfig::emulator(&bucket_name(), "not a host"), "STORAGE_EMULATOR_HOST"),
        (GcsConfig::google(&bucket_name(), PathBuf::from("no/such/key.json")), "GOOGLE_APPLICATION_CREDENTIALS"),
    ] {
        let error = GcsBackend::connect(config).await.expect_err("it cannot work");
        assert!(matches!(&error, BackendError::Permanent(text) if text.contains(word)), "{error}");
    }
}
