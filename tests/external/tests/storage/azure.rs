//! The Azure store on Azurite.

use std::sync::Arc;

use rollcall::storage::{AzureConfig, Bucket, ConnectionConfig, ObjectStoreBackend};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

use super::failures::{FailingStore, Failure, every_failure};
use super::object_store_faults::{Codes, FaultyStore, every_object_store_fault};
use super::suite::{self, PAGE_SIZE, every_behaviour};
use crate::servers::{AZURE_ACCOUNT, AZURE_KEY, azurite, new_container};

/// The codes of Azure.
const AZURE: Codes = Codes {
    missing_bucket: "ContainerNotFound",
    overloaded: (503, "ServerBusy"),
    permanent: &[
        (403, "AuthenticationFailed", "AZURE_STORAGE_ACCOUNT_KEY"),
        (403, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor"),
        (403, "AuthorizationFailure", "firewall"),
        (404, "ContainerNotFound", "AZURE_CONTAINER"),
        (409, "BlobImmutableDueToPolicy", "immutability"),
    ],
};

async fn store(endpoint: &str) -> Arc<ObjectStoreBackend> {
    let config = AzureConfig {
        account: AZURE_ACCOUNT.to_owned(),
        container: new_container().await,
        prefix: "team/é".to_owned(),
        // Azurite has the account in the path.
        endpoint: Some(format!("{endpoint}/{AZURE_ACCOUNT}")),
        connection: ConnectionConfig { page_size: PAGE_SIZE, ..ConnectionConfig::default() },
        credentials: [("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned())].into_iter().collect(),
    };
    Arc::new(ObjectStoreBackend::azure(&config).expect("the configuration is valid"))
}

async fn open() -> (Bucket, ()) {
    (suite::bucket(store(azurite()).await), ())
}

every_behaviour!(super::azure::open);

async fn open_faulty() -> (FaultyStore, ()) {
    let proxy = FaultProxy::start(azurite());
    (FaultyStore { store: store(&proxy.url()).await, proxy, codes: AZURE }, ())
}

every_object_store_fault!(super::azure::open_faulty);

struct FailingAzure(FaultyStore);

impl FailingStore for FailingAzure {
    fn bucket(&self) -> Bucket {
        suite::bucket(self.0.store.clone())
    }

    fn inject(&self, count: usize, failure: Failure) {
        let denied = "<Error><Code>AuthorizationPermissionMismatch</Code><Message>no</Message></Error>";
        for _ in 0..count {
            self.0.proxy.inject(Rule::once(match failure {
                Failure::Transient => Fault::Answer(Answer::html(503, "")),
                Failure::Permanent => Fault::Answer(Answer::html(403, denied)),
                Failure::LostResponse => Fault::CutResponse,
                Failure::Hang => Fault::Stall,
            }));
        }
    }

    fn calls(&self) -> usize {
        self.0.proxy.requests().len()
    }
}

async fn open_failing() -> FailingAzure {
    FailingAzure(open_faulty().await.0)
}

every_failure!(super::azure::open_failing);
