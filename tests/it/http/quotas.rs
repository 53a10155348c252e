//! Quotas, and floods of one client address while another one works.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rollcall_client::{Client, NewUser};
use rollcall_core::Username;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, until};
use crate::sample_images::png;

/// Largest time of a request of another client during a flood. The server needs much less, but the
/// machine may be busy.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(10);

/// Rounds of requests of the other client. Each has a heartbeat, two lists and now and then a
/// registration. Of these 317 requests, three may fail.
const ROUNDS: usize = 100;

/// Flooding tasks at once.
const FLOODERS: usize = 16;

/// An HTTP client with an address of its own.
fn client_at(last: u8) -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(MAX_REQUEST_TIME)
        .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    client.build().expect("it needs no file and no network")
}

/// Status of a request; 0 if it failed.
async fn status(request: reqwest::RequestBuilder) -> u16 {
    match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            if response.bytes().await.is_ok() { status } else { 0 }
        }
        Err(_) => 0,
    }
}

fn registration(client: &reqwest::Client, url: &str, name: &str) -> reqwest::RequestBuilder {
    client.post(format!("{url}/register")).body(json!({ "username": name }).to_string())
}

/// Counts of successes and of requests of another client while `flood` runs. `flood` gets the
/// number of its request, and goes on until it is limited.
async fn work_during<F: Future<Output = ()> + Send + 'static>(
    url: &str,
    flood: impl Fn(usize) -> F + Send + Sync + Clone + 'static,
    is_limited: impl Fn() -> bool,
) -> (usize, usize) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        let (stop, count, flood) = (Arc::clone(&stop), Arc::clone(&count), flood.clone());
        flooders.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                flood(count.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    let (client, mut succeeded, mut sent) = (client_at(3), 0, 0);
    for round in 0..ROUNDS {
        let beat = client.post(format!("{url}/heartbeat")).body(r#"{"username":"victim"}"#);
        let mut requests = vec![beat, client.get(format!("{url}/discover")), client.get(format!("{url}/users"))];
        if round % 6 == 0 {
            requests.push(registration(&client, url, &format!("friend{round}")));
        }
        for request in requests {
            sent += 1;
            succeeded += usize::from(matches!(status(request).await, 200 | 201));
        }
    }
    until("a refusal of the flood", async || is_limited()).await;
    stop.store(true, Ordering::Relaxed);
    flooders.join_all().await;
    (succeeded, sent)
}

/// A node with the users `victim` and `attacker`.
async fn start(plan: Plan) -> (Cluster, String) {
    let cluster = plan.nodes(1).start().await;
    cluster.register("victim", "10.0.0.1:9000").await;
    cluster.register("attacker", "10.0.0.2:9000").await;
    let url = cluster.url(cluster.leader().await);
    (cluster, url)
}

fn assert_works((succeeded, sent): (usize, usize)) {
    assert!(succeeded * 100 >= sent * 99, "{succeeded} of {sent} requests of another address succeeded");
}

#[tokio::test]
async fn a_flood_of_registrations_from_one_address_is_limited_and_another_address_works() {
    let (cluster, url) = start(Plan::documented().env("ROLLCALL_REGISTRATION_BURST", "20")).await;
    let (attacker, refused) = (client_at(2), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let (target, seen) = (url.clone(), Arc::clone(&refused));
    let flood = move |n: usize| {
        let request = registration(&attacker, &target, &format!("flood{n}"));
        let seen = Arc::clone(&seen);
        async move {
            if status(request).await == 429 {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let is_limited = || refused.load(Ordering::Relaxed) > 0;
    assert_works(work_during(&url, flood, is_limited).await);
    let users = cluster.lead().get("/users").await.json()["users"].as_array().expect("a list").clone();
    let flooded = users.iter().filter(|user| user["username"].as_str().is_some_and(|name| name.starts_with("flood")));
    // 20, and 2 a second after that.
    let most = 21 + 2 * started.elapsed().as_secs();
    assert!(flooded.count() as u64 <= most, "more than {most} users");
}

#[tokio::test]
async fn a_flood_of_uploads_from_one_address_fills_one_quota_and_another_address_works() {
    let (cluster, url) = start(Plan::documented().env("ROLLCALL_MAX_IMAGES_PER_USER", "50")).await;
    let (attacker, refused) = (client_at(2), Arc::new(AtomicUsize::new(0)));
    let (target, seen) = (format!("{url}/upload_image/attacker"), Arc::clone(&refused));
    let flood = move |n: usize| {
        let picture = png(64, 64, u8::try_from(n % 256).expect("less than 256"));
        let form = reqwest::multipart::Form::new().part("image", reqwest::multipart::Part::bytes(picture));
        let request = attacker.post(&target).multipart(form);
        let seen = Arc::clone(&seen);
        async move {
            if status(request).await == 409 {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let is_limited = || refused.load(Ordering::Relaxed) > 0;
    assert_works(work_during(&url, flood, is_limited).await);
    let images = cluster.lead().get("/images/attacker").await.json();
    assert_eq!(images["count"], 50, "{images}");
    let folder = cluster.dir().join("data/bucket/users/attacker/images");
    assert_eq!(std::fs::read_dir(folder).expect("the folder of the images").count(), 50);
    let refused = cluster.lead().upload("attacker", &png(8, 8, 1)).await;
    assert_eq!(refused.header("retry-after"), None, "waiting does not help");
    let message = refused.expect_error(409, "quota_exceeded");
    assert!(message.contains("max_images_per_user is 50"), "{message}");
    // Another user has a quota of its own.
    cluster.upload("victim", &png(8, 8, 1)).await;
}

#[tokio::test]
async fn an_address_stores_as_many_bytes_of_images_as_its_burst_and_another_address_uploads() {
    // Any image takes the whole burst, and needs more than a minute for the next one.
    let plan = Plan::documented().env("ROLLCALL_UPLOAD_BURST_BYTES", "64").env("ROLLCALL_UPLOAD_RATE_BYTES", "1");
    let (cluster, url) = start(plan).await;
    cluster.upload("victim", &png(8, 8, 1)).await;
    let refused = cluster.lead().upload("attacker", &png(8, 8, 2)).await;
    let wait: u64 = refused.header("retry-after").expect("waiting helps").parse().expect("seconds");
    assert!((1..=64).contains(&wait), "{wait}");
    let message = refused.expect_error(429, "rate_limited");
    assert!(message.contains("upload_burst_bytes allows 64"), "{message}");
    assert_eq!(cluster.lead().get("/images/attacker").await.json()["count"], 0);
    let form = reqwest::multipart::Form::new().part("image", reqwest::multipart::Part::bytes(png(8, 8, 2)));
    assert_eq!(status(client_at(3).post(format!("{url}/upload_image/attacker")).multipart(form)).await, 201);
}

#[tokio::test]
async fn clients_behind_one_address_wait_as_the_node_asks_and_all_register() {
    let plan = Plan::quick().env("ROLLCALL_REGISTRATION_BURST", "20").env("ROLLCALL_REGISTRATION_RATE", "20");
    let (cluster, url) = start(plan).await;
    let client = Client::new([url], Duration::from_mins(1)).expect("a client");
    let mut clients = JoinSet::new();
    for n in 0..60 {
        let client = client.clone();
        let user = NewUser::named(Username::parse(&format!("user{n}")).expect("a name"));
        clients.spawn(async move { client.register(&user).await.map(drop) });
    }
    for registered in clients.join_all().await {
        registered.expect("it registers after a wait");
    }
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 62);
}

/// More space than any disk has.
const TOO_MUCH_SPACE: &str = "1000000000000000000";

#[tokio::test]
async fn below_the_floor_users_write_nothing_and_presence_works() {
    let (mut cluster, _) = start(Plan::quick()).await;
    cluster.upload("victim", &png(8, 8, 1)).await;
    let password = json!({ "username": "carol", "password": "secret one" }).to_string();
    assert_eq!(cluster.lead().post("/register", password).await.status, 201);
    let restart = async |cluster: &mut Cluster, min_free_bytes: &str| {
        assert_eq!(cluster.sigterm(0).await.code(), Some(0));
        cluster.set_env(0, "ROLLCALL_MIN_FREE_BYTES", min_free_bytes);
        cluster.start(0);
        cluster.leader().await;
    };
    restart(&mut cluster, TOO_MUCH_SPACE).await;
    let change = json!({ "username": "carol", "password": "secret one", "new_password": "secret two" }).to_string();
    let message = cluster.lead().post("/register", r#"{"username":"bob"}"#).await.expect_error(503, "storage_full");
    assert!(message.contains("min_free_bytes"), "{message}");
    cluster.lead().upload("victim", &png(8, 8, 2)).await.expect_error(503, "storage_full");
    cluster.lead().post("/password", change.clone()).await.expect_error(503, "storage_full");
    cluster.at(0).get("/readyz").await.expect_error(503, "storage_full");
    // The probes for a load balancer: heartbeats go on.
    assert_eq!(cluster.at(0).get("/livez").await.status, 200);
    assert_eq!(cluster.lead().get("/leader").await.status, 200);
    cluster.heartbeat("victim").await;
    assert_eq!(cluster.lead().get("/discover").await.json()["count"], 1);
    assert_eq!(cluster.lead().get("/images/victim").await.json()["count"], 1);
    let again = r#"{"username":"victim","addr":"10.0.0.1:9000"}"#;
    assert_eq!(cluster.lead().post("/register", again).await.status, 200, "a repetition writes nothing");
    restart(&mut cluster, "0").await;
    cluster.register("bob", "10.0.0.3:9000").await;
    cluster.upload("victim", &png(8, 8, 2)).await;
    assert_eq!(cluster.lead().post("/password", change).await.status, 200);
    assert_eq!(cluster.at(0).get("/readyz").await.status, 200);
}
