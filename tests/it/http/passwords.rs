//! Users with a password, while leaders change.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Plan, Response, until};
use crate::sample_images::png;

const CAROL: &str = r#"{"username":"carol","password":"sesame-9"}"#;
const HEARTBEAT: &str = r#"{"username":"carol"}"#;

fn token(answer: &Response) -> String {
    assert!(matches!(answer.status, 200 | 201), "{answer}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()["token"].as_str().expect("a token").to_owned()
}

async fn send_heartbeat(cluster: &Cluster, token: &str) -> Response {
    cluster.lead().header("authorization", &format!("Bearer {token}")).post("/heartbeat", HEARTBEAT).await
}

async fn change_password(cluster: &Cluster, old: &str, new: &str) -> Response {
    let body = json!({"username": "carol", "password": old, "new_password": new}).to_string();
    cluster.lead().post("/password", body).await
}

/// Kills the leader, waits for the next one, and restarts the killed node as a follower.
async fn replace_leader(cluster: &mut Cluster) {
    let old = cluster.leader().await;
    cluster.kill9(old);
    let new = cluster.leader_after(old).await;
    cluster.start(old);
    let name = cluster.name(new);
    until("the killed node to follow", async || {
        cluster.health(old).await.is_some_and(|health| health["current_leader"] == name)
    })
    .await;
}

#[tokio::test]
async fn a_token_is_valid_at_the_next_leader_until_the_password_is_changed() {
    let mut cluster = Plan::documented().start().await;
    let first = token(&cluster.lead().post("/register", CAROL).await);
    assert_eq!(send_heartbeat(&cluster, &first).await.status, 200);
    replace_leader(&mut cluster).await;
    assert_eq!(send_heartbeat(&cluster, &first).await.status, 200);
    let second = token(&change_password(&cluster, "sesame-9", "better").await);
    for _ in 0..2 {
        // The next leader has the change from the old leader or from the bucket.
        send_heartbeat(&cluster, &first).await.expect_error(401, "unauthorized");
        assert_eq!(send_heartbeat(&cluster, &second).await.status, 200);
        replace_leader(&mut cluster).await;
    }
    cluster.lead().post("/login", CAROL).await.expect_error(401, "wrong_password");
    let again = CAROL.replace("sesame-9", "better");
    let third = token(&cluster.lead().post("/login", again).await);
    assert_eq!(send_heartbeat(&cluster, &third).await.status, 200);
}

#[tokio::test]
async fn tokens_and_password_changes_survive_a_cold_start() {
    let mut cluster = Plan::quick().start().await;
    let first = token(&cluster.lead().post("/register", CAROL).await);
    let second = token(&change_password(&cluster, "sesame-9", "better").await);
    for how in ["sigterm", "kill"] {
        for index in 0..3 {
            match how {
                "kill" => cluster.kill9(index),
                _ => assert_eq!(cluster.sigterm(index).await.code(), Some(0)),
            }
        }
        for index in 0..3 {
            cluster.start(index);
        }
        assert_eq!(send_heartbeat(&cluster, &second).await.status, 200, "{how}");
        send_heartbeat(&cluster, &first).await.expect_error(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_user_with_a_password_cannot_be_impersonated_and_other_users_need_no_credentials() {
    let cluster = Plan::quick().start().await;
    let carol_token = token(&cluster.lead().post("/register", CAROL).await);
    let dan_token = token(&cluster.lead().post("/register", r#"{"username":"dan","password":"x"}"#).await);
    cluster.register("open", "10.0.0.1:9000").await;
    let picture = png(16, 16, 0);
    for bad in [None, Some(format!("Bearer {dan_token}")), Some("Bearer rc1.x".to_owned()), Some("Basic x".to_owned())]
    {
        let ask = || match &bad {
            Some(bad) => cluster.lead().header("authorization", bad),
            None => cluster.lead(),
        };
        ask().post("/heartbeat", HEARTBEAT).await.expect_error(401, "unauthorized");
        // A heartbeat with a query takes the router instead of the fast path.
        ask().post("/heartbeat?x", HEARTBEAT).await.expect_error(401, "unauthorized");
        ask().upload("carol", &picture).await.expect_error(401, "unauthorized");
        assert_eq!(ask().post("/heartbeat", r#"{"username":"open"}"#).await.status, 200);
        assert_eq!(ask().upload("open", &picture).await.status, 201);
    }
    let online = cluster.lead().get("/discovery/online").await.json();
    assert_eq!(online, json!({"online": ["open"]}));
    assert_eq!(send_heartbeat(&cluster, &carol_token).await.status, 200);
    let bearer = format!("Bearer {carol_token}");
    assert_eq!(cluster.lead().header("authorization", &bearer).upload("carol", &picture).await.status, 201);
    let basic =
        cluster.lead().header("authorization", "Basic Y2Fyb2w6c2VzYW1lLTk=").post("/heartbeat", HEARTBEAT).await;
    assert_eq!(basic.status, 200, "{basic}");
    let users = cluster.lead().get("/users").await;
    let text = String::from_utf8_lossy(&users.body).into_owned();
    assert!(!text.contains("argon2") && !text.contains("password") && !text.contains("rc1."), "{text}");
    for index in 0..3 {
        let log = cluster.stderr(index) + &cluster.stdout(index);
        assert!(!log.contains("sesame-9") && !log.contains("argon2") && !log.contains("rc1."), "{log}");
    }
    assert_eq!(cluster.stored().iter().filter(|path| path.starts_with("users/carol/")).count(), 2);
}

#[tokio::test]
async fn password_guesses_are_rate_limited_and_token_owners_are_not() {
    let cluster = Plan::quick().nodes(1).start().await;
    let carol_token = token(&cluster.lead().post("/register", CAROL).await);
    let wrong = CAROL.replace("sesame-9", "guess");
    for _ in 0..5 {
        cluster.lead().post("/login", wrong.clone()).await.expect_error(401, "wrong_password");
    }
    let refused = cluster.lead().post("/login", wrong).await;
    refused.expect_error(429, "too_many_attempts");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(send_heartbeat(&cluster, &carol_token).await.status, 200);
    // The log names who was attacked from where, and not the password that was tried.
    let log = || cluster.stderr(0) + &cluster.stdout(0);
    let is_wrong_password = |line: &&str| line.contains("wrong password") && line.contains("user=carol");
    until("five lines about wrong passwords", async || log().lines().filter(is_wrong_password).count() == 5).await;
    assert!(log().lines().filter(is_wrong_password).all(|line| line.contains("from=127.0.0.1")), "{}", log());
    assert!(!log().contains("guess"), "{}", log());
}

#[tokio::test]
async fn users_without_a_password_are_rejected_if_passwords_are_required() {
    let mut cluster = Plan::quick().nodes(1).start().await;
    cluster.register("open", "10.0.0.1:9000").await;
    cluster.set_env(0, "ROLLCALL_REQUIRE_PASSWORD", "true");
    assert_eq!(cluster.sigterm(0).await.code(), Some(0));
    cluster.start(0);
    cluster.leader().await;
    cluster.lead().post("/register", r#"{"username":"new"}"#).await.expect_error(400, "password_required");
    cluster.lead().post("/heartbeat", r#"{"username":"open"}"#).await.expect_error(401, "password_required");
    cluster.lead().upload("open", &png(16, 16, 0)).await.expect_error(401, "password_required");
    let carol_token = token(&cluster.lead().post("/register", CAROL).await);
    assert_eq!(send_heartbeat(&cluster, &carol_token).await.json()["success"], Value::Bool(true));
}
