//! Clients that register users through everything, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::election::clients::{Client, Outcome};

const WRITERS: usize = 3;
/// At most 20 registrations a second and writer: each costs the disk a sync, and other tests run.
const PACE: Duration = Duration::from_millis(50);

/// The clients, which end with this.
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
                    let Outcome::Registered(id) = outcome else { panic!("{name} is nobody else's") };
                    acknowledged.lock().expect("no panic").insert(name, id);
                    sleep(PACE).await;
                }
            });
        }
        Self { acknowledged, tasks }
    }

    /// How many registrations were acknowledged so far.
    pub(super) fn count(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Ends the clients, and checks that all that was acknowledged is there.
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
