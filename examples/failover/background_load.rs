//! Background load: clients that send heartbeats and registrations during the measurement. At the
//! end all acknowledged registrations must exist.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rollcall_client::{Client, NewUser};
use rollcall_core::Username;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::probes::http_client;

/// Pause between two requests of one client.
const PACE: Duration = Duration::from_millis(50);
/// One request in this many is a registration. A registration costs a disk sync.
const REGISTER_EVERY: usize = 100;
/// Timeout for a complete list of users after the last change of the leader.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients. They stop when this is dropped.
pub(crate) struct BackgroundLoad {
    /// Id of each acknowledged user, by name.
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    failures: Arc<Mutex<Vec<String>>>,
    requests: Arc<Mutex<u64>>,
    tasks: JoinSet<()>,
}

impl BackgroundLoad {
    /// Starts `count` clients, which retry a failed request for this long.
    pub(crate) fn start(count: u16, urls: &[String], retry_timeout: Duration) -> anyhow::Result<Self> {
        let acknowledged = Arc::default();
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let requests: Arc<Mutex<u64>> = Arc::default();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let client = Client::new(urls.iter().cloned(), retry_timeout)?;
            let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::clone(&acknowledged);
            let (failures, requests) = (Arc::clone(&failures), Arc::clone(&requests));
            tasks.spawn(async move {
                sleep(PACE * u32::from(number) / u32::from(count)).await;
                for n in 0.. {
                    if let Err(error) = send_request(&client, number, n, &acknowledged).await {
                        locked(&failures).push(format!("client {number}: {error:#}"));
                    }
                    *locked(&requests) += 1;
                    sleep(PACE).await;
                }
            });
        }
        Ok(Self { acknowledged, failures, requests, tasks })
    }

    /// Number of requests that failed so far.
    pub(crate) fn failures(&self) -> usize {
        locked(&self.failures).len()
    }

    /// Stops the clients, and checks that every acknowledged registration exists. Returns one line
    /// for the report.
    pub(crate) async fn check(self, urls: &[String]) -> anyhow::Result<String> {
        let (requests, failures) = (*locked(&self.requests), locked(&self.failures).clone());
        drop(self.tasks);
        let acknowledged = locked(&self.acknowledged).clone();
        let listed = listed(urls).await?;
        for (name, id) in &acknowledged {
            anyhow::ensure!(listed.get(name) == Some(id), "{name} was acknowledged as {id} and is lost");
        }
        if let Some(first) = failures.first() {
            println!("  first failure: {first}");
        }
        Ok(format!(
            "load: {requests} requests, {} failed after all retries; {} registrations acknowledged, all exist",
            failures.len(),
            acknowledged.len()
        ))
    }
}

async fn send_request(
    client: &Client,
    number: u16,
    n: usize,
    acknowledged: &Mutex<BTreeMap<String, String>>,
) -> anyhow::Result<()> {
    let name = format!("load{number}-{}", n / REGISTER_EVERY);
    let user = Username::parse(&name)?;
    if n.is_multiple_of(REGISTER_EVERY) {
        let id = client.register(&NewUser::named(user.clone())).await?.user_id.to_string();
        locked(acknowledged).insert(name, id);
    } else {
        client.heartbeat(&user, None).await?;
    }
    Ok(())
}

async fn listed(urls: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let http = http_client()?;
    let deadline = Instant::now() + LIST_TIMEOUT;
    loop {
        for url in urls {
            let Ok(response) = http.get(format!("{url}/users")).timeout(LIST_TIMEOUT).send().await else { continue };
            if response.status().as_u16() == 200 {
                let list: Value = response.json().await?;
                let users = list["users"].as_array().context("no list")?.iter();
                let pair = |user: &Value| Some((user["username"].as_str()?.into(), user["id"].as_str()?.into()));
                return Ok(users.filter_map(pair).collect());
            }
        }
        anyhow::ensure!(Instant::now() < deadline, "no node lists the users");
        sleep(PACE).await;
    }
}

/// A poisoned lock is safe: each lock is held for one operation, which leaves nothing half changed.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
