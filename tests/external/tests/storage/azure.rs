//! The Azure store on Azurite.

use std::sync::Arc;

use rollcall::storage::{AzureConfig, Backend, Bucket, ConnectionConfig, Key, ObjectStoreBackend};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

use super::failures::{FailingStore, Failure, every_failure};
use super::object_store_faults::{Codes, FaultyStore, every_object_store_fault};
use super::suite::{self, PAGE_SIZE, every_behaviour};
use crate::servers::{AZURE_ACCOUNT, AZURE_KEY, HttpsAzurite, azurite, new_container};

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
    let config = config(endpoint, new_container().await);
    Arc::new(ObjectStoreBackend::azure(&config).expect("the configuration is valid"))
}

fn config(endpoint: &str, container: String) -> AzureConfig {
    AzureConfig {
        account: AZURE_ACCOUNT.to_owned(),
        container,
        prefix: "team/é".to_owned(),
        // Azurite has the account in the path.
        endpoint: Some(format!("{endpoint}/{AZURE_ACCOUNT}")),
        connection: ConnectionConfig { page_size: PAGE_SIZE, ..ConnectionConfig::default() },
        credentials: [("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned())].into_iter().collect(),
    }
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

async fn open_failing() -> FailingAzure {
    FailingAzure(open_faulty().await.0)
}

every_failure!(super::azure::open_failing);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_needs_the_setting() {
    let azurite = HttpsAzurite::start();
    let mut config = config(&azurite.url, "missing".to_owned());
    let read = async |config: &AzureConfig| {
        let store = ObjectStoreBackend::azure(config).expect("the configuration is valid");
        store.get(&Key::Cluster).await.expect_err("there is no container").to_string()
    };
    let error = read(&config).await;
    assert!(error.contains("certificate"), "{error}");
    config.connection.ca_file = Some(azurite.certificate.clone());
    let error = read(&config).await;
    assert!(error.contains("ContainerNotFound"), "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_with_the_variable_and_without_the_key() {
    let mut config = config(azurite(), new_container().await);
    config.credentials = [("AZURE_STORAGE_KEY", "aGlkZGVu".to_owned())].into_iter().collect();
    let store = ObjectStoreBackend::azure(&config).expect("it looks like a key");
    let error = store.get(&Key::Cluster).await.expect_err("the key is wrong").to_string();
    assert!(error.contains("AZURE_STORAGE_ACCOUNT_KEY") && !error.contains("aGlkZGVu"), "{error}");
    config.credentials = [("AZURE_STORAGE_KEY", "hidden!".to_owned())].into_iter().collect();
    let error = ObjectStoreBackend::azure(&config).err().expect("it is no base64").to_string();
    assert!(!error.contains("hidden"), "{error}");
}
