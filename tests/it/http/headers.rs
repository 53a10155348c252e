//! Response headers, HEAD requests, entity tags and pages.

use serde_json::json;

use crate::cluster::{Cluster, Plan, Response, until};
use crate::sample_images::png;

fn check_common_headers(answer: &Response, leader: &str, url: &str) {
    assert_eq!(answer.header("rollcall-leader"), Some(leader), "{answer}");
    assert_eq!(answer.header("rollcall-leader-url"), Some(url), "{answer}");
    assert!(answer.header("rollcall-term").is_some_and(|term| term.parse::<u64>().is_ok()), "{answer}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{answer}");
}

#[tokio::test]
async fn every_response_of_every_node_names_the_leader_and_the_request() {
    let cluster = Plan::documented().start().await;
    let leader = cluster.leader().await;
    until("all nodes to know the leader", async || all_know(&cluster, leader).await).await;
    let (name, url) = (cluster.name(leader), cluster.url(leader));
    for index in 0..3 {
        for path in ["/", "/status", "/users", "/discover", "/nowhere", "/register", "/image/x/y"] {
            check_common_headers(&cluster.at(index).get(path).await, &name, &url);
            check_common_headers(&cluster.at(index).head(path).await, &name, &url);
            check_common_headers(&cluster.at(index).delete(path).await, &name, &url);
        }
        check_common_headers(&cluster.at(index).post("/heartbeat", "nonsense").await, &name, &url);
        check_common_headers(&cluster.at(index).post("/register", "x".repeat(100_000)).await, &name, &url);
        let kept = cluster.at(index).header("x-request-id", "my-id.1").get("/nowhere").await;
        assert_eq!(kept.header("x-request-id"), Some("my-id.1"));
    }
    let ids: Vec<String> = [cluster.at(0).get("/").await, cluster.at(0).get("/").await]
        .map(|answer| answer.header("x-request-id").expect("checked").to_owned())
        .to_vec();
    assert_ne!(ids[0], ids[1]);
}

async fn all_know(cluster: &Cluster, leader: usize) -> bool {
    for index in 0..3 {
        let health = cluster.health(index).await;
        if health.is_none_or(|health| health["current_leader"] != cluster.name(leader)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn head_has_the_headers_of_get_without_the_body() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let name = cluster.upload("alice", &png(16, 16, 0)).await;
    for path in ["/", "/status", "/users", "/discover", "/images/alice", &format!("/image/alice/{name}")] {
        let (get, head) = (cluster.lead().get(path).await, cluster.lead().head(path).await);
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert!(head.body.is_empty(), "{path}");
        for header in ["content-type", "content-length", "etag", "cache-control"] {
            // The uptime may have one more digit in the second response.
            let may_differ = path == "/" && header == "content-length";
            assert!(may_differ || get.header(header) == head.header(header), "{path}: {header}");
        }
    }
}

#[tokio::test]
async fn an_unchanged_response_is_not_sent_again() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let name = cluster.upload("alice", &png(16, 16, 0)).await;
    let image = format!("/image/alice/{name}");
    for path in ["/discover", "/discovery/online", "/images/alice", &image] {
        let first = cluster.lead().get(path).await;
        let tag = first.header("etag").unwrap_or_else(|| panic!("{path} has no entity tag")).to_owned();
        for if_none_match in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = cluster.lead().header("if-none-match", &if_none_match).get(path).await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {if_none_match}");
            assert_eq!(again.header("etag"), Some(tag.as_str()), "{path}");
        }
        let other = cluster.lead().header("if-none-match", "\"other\"").get(path).await;
        assert_eq!((other.status, &other.body), (200, &first.body), "{path}");
    }
    let tag = cluster.lead().get("/discover").await.header("etag").expect("checked").to_owned();
    cluster.register("bob", "10.0.0.2:9000").await;
    cluster.heartbeat("bob").await;
    let changed = cluster.lead().header("if-none-match", &tag).get("/discover").await;
    assert_eq!((changed.status, &changed.json()["count"]), (200, &json!(2)));

    let picture = cluster.lead().get(&image).await;
    assert_eq!(picture.header("x-content-type-options"), Some("nosniff"));
    assert!(picture.header("cache-control").is_some_and(|value| value.contains("immutable")));
}

#[tokio::test]
async fn lists_are_sorted_and_paged() {
    let cluster = Plan::quick().nodes(1).start().await;
    for name in ["carol", "alice", "bob", "alicia"] {
        cluster.register(name, "10.0.0.1:9000").await;
        cluster.heartbeat(name).await;
    }
    for (path, list) in
        [("/users", "users"), ("/discover", "online_clients"), ("/discover_with_images", "online_clients")]
    {
        let names = async |query: &str| {
            let answer = cluster.lead().get(&format!("{path}{query}")).await.json();
            let names: Vec<String> = answer[list]
                .as_array()
                .expect("a list")
                .iter()
                .map(|row| row["username"].as_str().expect("text").to_owned())
                .collect();
            assert_eq!(answer["count"], names.len());
            names
        };
        assert_eq!(names("").await, ["alice", "alicia", "bob", "carol"], "{path}");
        assert_eq!(names("?limit=2").await, ["alice", "alicia"], "{path}");
        assert_eq!(names("?limit=2&after=alicia").await, ["bob", "carol"], "{path}");
        if path != "/discover_with_images" {
            assert_eq!(names("?prefix=ali&after=alice").await, ["alicia"], "{path}");
        }
    }
}
