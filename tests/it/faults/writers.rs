//! Clients that register users during faults, and remember the acknowledged registrations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::election::clients::{Client, Outcome};

const WRITERS: usize = 3;
/// Pause between two registrations: at most 20 per second and writer. Each costs a disk sync, and
/// other tests run at the same time.
const REGISTRATION_INTERVAL: Duration = Duration::from_millis(50);

/// The clients. They stop when this value is dropped.
pub(super) struct Writers {
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    tasks: JoinSet<()>,
}

impl Writers {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let acknowledged = Arc::default();
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let mut client = Client::new(cluster, 3, writer);
            let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                for n in 0.. {
                    let name = format!("w{writer}-{n}");
                    let outcome = client.register(&name, "10.0.0.1:9000").await;
                    let Outcome::Registered(id) = outcome else { panic!("{name} was taken by another client") };
                    acknowledged.lock().expect("no panic").insert(name, id);
                    sleep(REGISTRATION_INTERVAL).await;
                }
            });
        }
        Self { acknowledged, tasks }
    }

    /// Number of acknowledged registrations so far.
    pub(super) fn count(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Stops the clients, and checks that every acknowledged registration is stored.
    pub(super) async fn check(mut self, cluster: &Cluster) {
        self.tasks.shutdown().await;
        let acknowledged = self.acknowledged.lock().expect("no panic").clone();
        assert!(!acknowledged.is_empty());
        let users = cluster.lead().get("/users").await;
        assert_eq!(users.status, 200, "{users}");
        let users = users.json();
        let users = users["users"].as_array().expect("a list").iter();
        let ids: BTreeMap<_, _> =
            users.filter_map(|user| Some((user["username"].as_str()?, user["id"].as_str()?))).collect();
        for (name, id) in &acknowledged {
            assert_eq!(ids.get(name.as_str()), Some(&id.as_str()), "{name} was acknowledged");
        }
    }
}
