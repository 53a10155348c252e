//! The S3 store on moto.

use std::sync::Arc;

use rollcall::storage::{Bucket, ConnectionConfig, ObjectStoreBackend, S3Config};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

use super::failures::{FailingStore, Failure, every_failure};
use super::object_store_faults::{FaultyStore, S3, every_object_store_fault};
use super::suite::{self, PAGE_SIZE, every_behaviour};
use crate::servers::{moto, new_bucket};

async fn store(endpoint: &str) -> Arc<ObjectStoreBackend> {
    let keys = [("AWS_ACCESS_KEY_ID", "test".to_owned()), ("AWS_SECRET_ACCESS_KEY", "test".to_owned())];
    let config = S3Config {
        bucket: new_bucket().await,
        prefix: "team/é".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        path_style: true,
        connection: ConnectionConfig { page_size: PAGE_SIZE, ..ConnectionConfig::default() },
        credentials: keys.into_iter().collect(),
    };
    Arc::new(ObjectStoreBackend::s3(&config).expect("the configuration is valid"))
}

async fn open() -> (Bucket, ()) {
    (suite::bucket(store(moto()).await), ())
}

every_behaviour!(super::s3::open);

async fn open_faulty() -> (FaultyStore, ()) {
    let proxy = FaultProxy::start(moto());
    (FaultyStore { store: store(&proxy.url()).await, proxy, codes: S3 }, ())
}

every_object_store_fault!(super::s3::open_faulty);

struct FailingS3(FaultyStore);

impl FailingStore for FailingS3 {
    fn bucket(&self) -> Bucket {
        suite::bucket(self.0.store.clone())
    }

    fn inject(&self, count: usize, failure: Failure) {
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let fault = match failure {
            Failure::Transient => Fault::Answer(Answer::html(503, "")),
            Failure::Permanent => Fault::Answer(Answer::html(403, denied)),
            Failure::LostResponse => Fault::CutResponse,
            Failure::Hang => Fault::Stall,
        };
        self.0.proxy.inject(Rule::times(count, fault));
    }

    fn calls(&self) -> usize {
        self.0.proxy.requests().len()
    }
}

async fn open_failing() -> FailingS3 {
    FailingS3(open_faulty().await.0)
}

every_failure!(super::s3::open_failing);
