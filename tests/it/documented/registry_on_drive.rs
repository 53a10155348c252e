//! Requirement 001: clients of the registry on Google Drive, which send fewer fields.

use serde_json::json;

use crate::cluster::Plan;

#[tokio::test]
async fn a_heartbeat_needs_no_address() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "192.168.1.10:9000").await;
    let answer = cluster.lead().post("/heartbeat", r#"{"username": "alice"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 192.168.1.10:9000", "{answer}");
    let online = cluster.lead().get("/discover").await.json();
    assert_eq!(online["online_clients"], json!([{"username": "alice", "addr": "192.168.1.10:9000"}]));
    // From now on the live address replaces the registered one.
    cluster.lead().post("/heartbeat", r#"{"username":"alice","addr":"192.168.1.77:9000"}"#).await;
    cluster.heartbeat("alice").await;
    for path in ["/discover", "/users"] {
        let list = cluster.lead().get(path).await;
        assert!(String::from_utf8_lossy(&list.body).contains("192.168.1.77:9000"), "{path}: {list}");
    }
}

/// `curl -d` without a header declares the body as a form.
#[tokio::test]
async fn a_body_is_parsed_as_json_with_any_content_type() {
    let cluster = Plan::quick().nodes(1).start().await;
    let types = [None, Some("application/x-www-form-urlencoded"), Some("text/plain; charset=latin1"), Some("nonsense")];
    for (n, content_type) in types.into_iter().enumerate() {
        let ask = |cluster| match content_type {
            Some(content_type) => crate::cluster::Cluster::lead(cluster).header("content-type", content_type),
            None => cluster.lead(),
        };
        let registered =
            ask(&cluster).post("/register", format!(r#"{{"username":"client{n}","addr":"10.0.0.1:9000"}}"#)).await;
        assert_eq!(registered.status, 201, "{content_type:?}: {registered}");
        let heartbeat = ask(&cluster).post("/heartbeat", format!(r#"{{"username":"client{n}"}}"#)).await;
        assert_eq!(heartbeat.status, 200, "{content_type:?}: {heartbeat}");
    }
}
