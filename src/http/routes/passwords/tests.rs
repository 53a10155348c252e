use axum::extract::Request;
use image::ImageFormat;
use serde_json::Value;

use crate::http::testing::{TestNode, TestResponse, following, leading, request};
use crate::registry::testing::encoded_image;

const REGISTRATION: &str = r#"{"username":"carol","password":"secret"}"#;
const LOGIN: &str = r#"{"username":"carol","password":"secret"}"#;
const HEARTBEAT: &str = r#"{"username":"carol"}"#;

fn token(answer: &TestResponse) -> String {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    let expires_at = json["token_expires_at"].as_str().expect("a time");
    assert!(expires_at.len() == 20 && expires_at.ends_with('Z'), "{expires_at}");
    json["token"].as_str().expect("a token").to_owned()
}

fn with_authorization(mut request: Request, authorization: &str) -> Request {
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    request
}

fn upload() -> Request {
    let head = "--XX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"x.png\"\r\n\r\n";
    let body = [head.as_bytes(), &encoded_image(ImageFormat::Png, 2, 2), b"\r\n--XX--\r\n"].concat();
    let mut request = request("POST", "/upload_image/carol", body);
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=XX".parse().unwrap());
    request
}

#[tokio::test]
async fn a_registration_with_a_password_its_repetition_and_a_login_return_a_token() {
    let node = TestNode::new(leading());
    let (first, again) = (node.post("/register", REGISTRATION).await, node.post("/register", REGISTRATION).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.json()["user_id"], again.json()["user_id"]);
    let login = node.post("/login", LOGIN).await;
    assert_eq!((login.status.as_u16(), &login.json()["status"]), (200, &Value::from("ok")));
    for token in [token(&first), token(&again), token(&login)] {
        let heartbeat =
            node.send(with_authorization(request("POST", "/heartbeat", HEARTBEAT), &format!("Bearer {token}"))).await;
        assert_eq!(heartbeat.status, 200);
    }
    let open = node.post("/register", r#"{"username":"open"}"#).await;
    assert_eq!((open.header("cache-control"), open.json().get("token")), (None, None));
}

#[tokio::test]
async fn heartbeats_and_uploads_for_a_user_with_a_password_need_its_token_or_password() {
    let node = TestNode::with_alice_and_bob().await;
    let carol_token = token(&node.post("/register", REGISTRATION).await);
    let dan_token = token(&node.post("/register", r#"{"username":"dan","password":"other"}"#).await);
    let (bearer, other) = (format!("Bearer {carol_token}"), format!("Bearer {dan_token}"));
    let cut = &bearer[..bearer.len() - 1];
    // The two Base64 texts of this test are carol:secret and carol:wrong.
    for good in [bearer.as_str(), "Basic Y2Fyb2w6c2VjcmV0"] {
        assert_eq!(node.send(with_authorization(request("POST", "/heartbeat", HEARTBEAT), good)).await.status, 200);
        assert_eq!(
            node.send_to_fast_path(with_authorization(request("POST", "/heartbeat", HEARTBEAT), good)).await.status,
            200
        );
        assert_eq!(node.send(with_authorization(upload(), good)).await.status, 201);
    }
    for (bad, part) in [
        ("", "neither"),
        (other.as_str(), "another user's"),
        (cut, "not one of this cluster's"),
        ("Bearer nonsense", "not one of this cluster's"),
        ("Digest x", "neither"),
        ("Basic Y2Fyb2w6d3Jvbmc=", "the password is wrong"),
    ] {
        for answer in [
            node.send(with_authorization(request("POST", "/heartbeat", HEARTBEAT), bad)).await,
            node.send_to_fast_path(with_authorization(request("POST", "/heartbeat", HEARTBEAT), bad)).await,
            node.send(with_authorization(upload(), bad)).await,
        ] {
            let message = answer.expect_error(401, "unauthorized");
            assert!(message.contains(part) && message.contains("'carol'"), "{bad}: {message}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"rollcall\", Basic realm=\"rollcall\""));
        }
    }
    node.post("/heartbeat", HEARTBEAT).await.expect_error(401, "unauthorized");
    node.send(upload()).await.expect_error(401, "unauthorized");
    assert_eq!(node.get("/images/carol").await.json()["count"], 2);
    // A user without a password needs no credentials. Credentials that are sent anyway are ignored.
    let heartbeat = with_authorization(request("POST", "/heartbeat", r#"{"username":"alice"}"#), &other);
    assert_eq!(node.send(heartbeat).await.status, 200);
}

#[tokio::test]
async fn a_password_change_needs_the_old_password() {
    let node = TestNode::new(leading());
    let first = token(&node.post("/register", REGISTRATION).await);
    let change = r#"{"username":"carol","password":"secret","new_password":"better"}"#;
    let changed = node.post("/password", change).await;
    assert_eq!(changed.status, 200);
    let second = token(&changed);
    let heartbeat =
        |token: &str| with_authorization(request("POST", "/heartbeat", HEARTBEAT), &format!("Bearer {token}"));
    let message = node.send(heartbeat(&first)).await.expect_error(401, "unauthorized");
    assert!(message.contains("before the password was changed") && message.contains("/login"), "{message}");
    assert_eq!(node.send(heartbeat(&second)).await.status, 200);
    node.post("/login", LOGIN).await.expect_error(401, "wrong_password");
    let other = r#"{"username":"carol","password":"secret","new_password":"mine"}"#;
    node.post("/password", other).await.expect_error(401, "wrong_password");
    let again = token(&node.post("/password", change).await);
    for token in [second, again] {
        assert_eq!(
            node.send(heartbeat(&token)).await.status,
            200,
            "the same change a second time invalidates no token"
        );
    }
}

#[tokio::test]
async fn invalid_logins_and_password_changes_are_rejected_with_their_error() {
    let node = TestNode::with_alice_and_bob().await;
    node.post("/register", REGISTRATION).await;
    let long = "x".repeat(1025);
    let (login, change) = ("/login", "/password");
    for (path, body, status, code) in [
        (login, "nonsense".to_owned(), 400, "invalid_json"),
        (login, r#"{"username":"carol"}"#.to_owned(), 400, "missing_field"),
        (login, r#"{"username":"carol","password":5}"#.to_owned(), 400, "invalid_field"),
        (login, r#"{"username":"../x","password":"x"}"#.to_owned(), 400, "invalid_username"),
        (login, r#"{"username":"carol","password":""}"#.to_owned(), 400, "invalid_password"),
        (login, r#"{"username":"nobody","password":"x"}"#.to_owned(), 404, "user_not_registered"),
        (login, r#"{"username":"alice","password":"x"}"#.to_owned(), 409, "no_password"),
        (login, r#"{"username":"carol","password":"x"}"#.to_owned(), 401, "wrong_password"),
        (change, r#"{"username":"carol","password":"x"}"#.to_owned(), 400, "missing_field"),
        (change, r#"{"username":"carol","password":"secret","new_password":""}"#.to_owned(), 400, "invalid_password"),
        (change, r#"{"username":"alice","password":"x","new_password":"y"}"#.to_owned(), 409, "no_password"),
        (change, r#"{"username":"nobody","password":"x","new_password":"y"}"#.to_owned(), 404, "user_not_registered"),
        ("/register", r#"{"username":"eve","password":""}"#.to_owned(), 400, "invalid_password"),
        ("/register", format!(r#"{{"username":"eve","password":"{long}"}}"#), 400, "invalid_password"),
    ] {
        let message = node.post(path, body.clone()).await.expect_error(status, code);
        assert!(!message.contains("secret"), "{body}: {message}");
    }
    let at_the_limit = format!(r#"{{"username":"eve","password":"{}"}}"#, &long[1..]);
    assert_eq!(node.post("/register", at_the_limit).await.status, 201);
    node.role.send_replace(following());
    node.post("/login", "nonsense").await.expect_error(403, "not_leader");
}

#[tokio::test]
async fn a_rejected_registration_does_not_reveal_whether_its_password_is_right() {
    let node = TestNode::new(leading());
    node.post("/register", REGISTRATION).await;
    let mut messages = std::collections::HashSet::new();
    for password in [r#","password":"secret""#, r#","password":"wrong""#, ""] {
        for addr in ["", r#","addr":"10.0.0.1:9000""#] {
            if (password, addr) == (r#","password":"secret""#, "") {
                continue;
            }
            let body = format!(r#"{{"username":"carol"{password}{addr}}}"#);
            messages.insert(node.post("/register", body).await.expect_error(409, "user_exists"));
        }
    }
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test]
async fn password_guesses_are_rate_limited_with_retry_after() {
    let node = TestNode::new(leading());
    node.post("/register", REGISTRATION).await;
    for _ in 0..5 {
        node.post("/login", r#"{"username":"carol","password":"x"}"#).await.expect_error(401, "wrong_password");
    }
    let refused = node.post("/login", LOGIN).await;
    refused.expect_error(429, "too_many_attempts");
    assert_eq!(refused.header("retry-after"), Some("1"));
}
