//! The S3 store on [`S3Server`] behind the fault proxy.

use std::future::{Ready, ready};
use std::sync::Arc;

use rollcall::storage::{Bucket, ObjectStoreBackend};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};
use rollcall_test_support::s3_server::{Preconditions, S3Server};

use super::failures::{FailingStore, Failure, every_failure};
use super::object_store_faults::{FaultyStore, S3, every_object_store_fault};
use super::suite::{self, profile, put};

fn open() -> Ready<(FaultyStore, S3Server)> {
    let server = S3Server::start(Preconditions::Honoured);
    let proxy = FaultProxy::start(&server.url());
    let store = ObjectStoreBackend::s3(&super::s3::config(&proxy.url())).expect("the configuration is valid");
    ready((FaultyStore { store: Arc::new(store), proxy, codes: S3 }, server))
}

every_object_store_fault!(super::s3_faults::open);

struct FailingS3 {
    faulty: FaultyStore,
    _server: S3Server,
}

impl FailingStore for FailingS3 {
    fn bucket(&self) -> Bucket {
        suite::bucket(self.faulty.store.clone())
    }

    fn inject(&self, count: usize, failure: Failure) {
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let fault = match failure {
            Failure::Transient => Fault::Answer(Answer::html(503, "")),
            Failure::Permanent => Fault::Answer(Answer::html(403, denied)),
            Failure::LostResponse => Fault::CutResponse,
            Failure::Hang => Fault::Stall,
        };
        self.faulty.proxy.inject(Rule::times(count, fault));
    }

    fn calls(&self) -> usize {
        self.faulty.proxy.requests().len()
    }
}

async fn open_failing() -> FailingS3 {
    let (faulty, server) = open().await;
    FailingS3 { faulty, _server: server }
}

every_failure!(super::s3_faults::open_failing);

#[tokio::test]
async fn a_corrupted_upload_is_detected_and_repeated() {
    let (store, _server) = open().await;
    let bucket = suite::bucket(store.store.clone());
    store.proxy.inject(Rule::once(Fault::CorruptUpload(1)));
    put(&bucket, &profile("alice"), b"{\"username\":\"alice\"}").await;
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().expect("it exists").bytes, "{\"username\":\"alice\"}");
    assert_eq!(store.proxy.requests().len(), 3);
}
