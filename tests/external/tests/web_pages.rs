//! Web pages in Chromium: a page of a foreign origin can change nothing, and a listed one can.

mod browser;
mod page_server;

use std::process::Command;
use std::time::Duration;

use rollcall_test_support::cluster::{Cluster, Plan, Response};
use serde_json::{Value, json};

use browser::Browser;
use page_server::PageServer;

/// Longest wait for the results of a page. A browser starts slowly on a busy machine.
const PAGE_TIMEOUT: Duration = Duration::from_mins(2);

/// Starts a node with an online client `alice` without a password, and a user `carol` with one.
async fn start_node(plan: Plan) -> Cluster {
    // `alice` stays online while the browser starts.
    let cluster = plan.nodes(1).env("HEARTBEAT_TTL_SECONDS", "600").start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let carol = cluster.lead().post("/register", r#"{"username":"carol","password":"sesame-9"}"#).await;
    assert_eq!(carol.status, 201, "{carol}");
    assert_eq!(cluster.lead().post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
    cluster
}

/// Opens the page in a browser and returns its results.
async fn results_of_page(pages: &mut PageServer, cluster: &Cluster) -> Value {
    let url = format!("{}/?node={}", pages.origin(), cluster.url(0));
    let _browser = Browser::open(&url);
    tokio::time::timeout(PAGE_TIMEOUT, pages.results()).await.expect("the page sent its results")
}

/// The names of all users, the address of `alice`, and the number of her images.
async fn state(cluster: &Cluster) -> Value {
    let get = async |path: &str| -> Response { cluster.lead().get(path).await };
    let users = get("/users").await.json();
    let names: Vec<_> = users["users"].as_array().expect("a list").iter().map(|user| &user["username"]).collect();
    let clients = get("/discover").await.json();
    json!([names, clients["online_clients"][0]["addr"], get("/images/alice").await.json()["count"]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_foreign_origin_can_neither_register_nor_move_nor_upload_nor_read_a_token() {
    let mut pages = PageServer::start().await;
    let cluster = start_node(Plan::quick()).await;
    let before = state(&cluster).await;
    let results = results_of_page(&mut pages, &cluster).await;
    assert_eq!(state(&cluster).await, before, "{results}");
    assert_eq!(before, json!([["alice", "carol"], "10.0.0.1:9000", 0]));
    // The page could send requests, and read what every page may.
    assert_eq!((&results["read"], &results["register"]), (&json!(200), &json!("opaque")), "{results}");
    let login = results["login"].as_str().expect("text");
    assert!(login.contains("origin_not_allowed"), "{results}");
    for with_preflight in ["register with a preflight", "login with a preflight"] {
        assert!(results[with_preflight].as_str().is_some_and(|text| text.starts_with("blocked")), "{results}");
    }

    // curl sends no `Origin`.
    let url = format!("{}/register", cluster.url(0));
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", " %{http_code}", "--data", r#"{"username":"dave"}"#, &url])
        .output()
        .expect("curl is missing: install the package curl");
    let answer = String::from_utf8_lossy(&curl.stdout);
    assert!(answer.ends_with(" 201"), "{answer} {curl:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_listed_origin_can_register_move_upload_and_log_in() {
    let mut pages = PageServer::start().await;
    let cluster = start_node(Plan::quick().env("ROLLCALL_CORS_ORIGINS", &pages.origin())).await;
    let results = results_of_page(&mut pages, &cluster).await;
    let expected = json!([["alice", "by-form", "by-json", "by-text", "carol"], "10.6.6.6:9000", 1]);
    assert_eq!(state(&cluster).await, expected, "{results}");
    for login in ["login", "login with a preflight"] {
        assert!(results[login].as_str().is_some_and(|text| text.contains("\"token\":\"")), "{results}");
    }
}
