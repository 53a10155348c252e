use axum::http::Method;
use serde_json::json;

use crate::http::CorsPolicy;
use crate::http::testing::{TestNode, leading, request};
use crate::storage::Fault;

#[tokio::test]
async fn a_registration_answers_as_documented() {
    let node = TestNode::new(leading());
    let answer = node.post("/register", r#"{"username": "alice", "addr": "10.40.6.26:9000"}"#).await;
    assert_eq!(answer.status, 201);
    let json = answer.json();
    let id = json["user_id"].as_str().unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok());
    let message = "User 'alice' registered successfully at 10.40.6.26:9000";
    assert_eq!(json, json!({"success": true, "status": "ok", "message": message, "user_id": id}));
}

#[tokio::test]
async fn a_repeated_registration_gets_200_and_the_same_id() {
    let node = TestNode::new(leading());
    let body = r#"{"username":"alice","addr":"10.40.6.26:9000","metadata":{"x":1.1,"y":[null]}}"#;
    let (first, again) = (node.post("/register", body).await, node.post("/register", body).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.json(), again.json());
}

#[tokio::test]
async fn a_registration_of_a_taken_username_gets_409() {
    let node = TestNode::with_alice_and_bob().await;
    for body in [
        r#"{"username":"alice","addr":"10.40.6.26:9001"}"#,
        r#"{"username":"alice"}"#,
        r#"{"username":"alice","addr":"10.40.6.26:9000","metadata":{"x":1}}"#,
        r#"{"username":"alice","addr":"10.40.6.26:9000","password":"x"}"#,
    ] {
        let answer = node.post("/register", body).await;
        assert!(answer.expect_error(409, "user_exists").contains("'alice'"));
        assert_eq!(answer.json()["error"], "exists");
    }
}

#[tokio::test]
async fn a_taken_username_gets_400_with_the_setting_for_clients_of_the_discovery_server() {
    let node = TestNode::with_discovery_server_compat(CorsPolicy::Any);
    let carol = r#"{"username":"carol","password":"secret"}"#;
    assert_eq!(node.post("/register", carol).await.status, 201);
    assert_eq!(node.post("/register", carol).await.status, 200);
    let answer = node.post("/register", r#"{"username":"carol","password":"guess"}"#).await;
    assert!(answer.expect_error(400, "user_exists").contains("'carol'"));
    assert_eq!(answer.json()["error"], "exists");
}

#[tokio::test]
async fn the_setting_for_clients_of_the_discovery_server_opens_nothing_but_heartbeats() {
    let node = TestNode::with_discovery_server_compat(CorsPolicy::Any);
    node.post("/register", r#"{"username":"carol","password":"secret","addr":"10.0.0.1:1"}"#).await;
    let answer = node.post("/heartbeat", r#"{"username":"carol","addr":"10.0.0.2:2"}"#).await;
    assert_eq!(answer.json()["message"], "Heartbeat accepted for 'carol' at 10.0.0.1:1");
    for authorization in ["Bearer x", "Basic x", "x"] {
        let mut heartbeat = request("POST", "/heartbeat", r#"{"username":"carol"}"#);
        heartbeat.headers_mut().insert("authorization", authorization.parse().unwrap());
        node.send(heartbeat).await.expect_error(401, "unauthorized");
    }
    let form = "--x\r\nContent-Disposition: form-data; name=image\r\n\r\nbytes\r\n--x--\r\n";
    let mut upload = request("POST", "/upload_image/carol", form);
    upload.headers_mut().insert("content-type", "multipart/form-data; boundary=x".parse().unwrap());
    node.send(upload).await.expect_error(401, "unauthorized");
    node.post("/login", r#"{"username":"carol","password":"guess"}"#).await.expect_error(401, "wrong_password");
}

#[tokio::test]
async fn an_empty_address_in_a_registration_counts_as_absent() {
    let node = TestNode::with_alice_and_bob().await;
    assert_eq!(node.post("/register", r#"{"username":"carol","addr":""}"#).await.status, 201);
    for same in [r#"{"username":"carol"}"#, r#"{"username":"carol","addr":null}"#] {
        assert_eq!(node.post("/register", same).await.status, 200, "{same}");
    }
    assert_eq!(node.get("/users?prefix=carol").await.json()["users"][0]["addr"], "");
}

#[tokio::test]
async fn an_ipv4_address_in_ipv6_form_is_registered_as_ipv4() {
    let node = TestNode::with_alice_and_bob().await;
    assert_eq!(node.post("/register", r#"{"username":"carol","addr":"[::ffff:10.0.0.7]:9000"}"#).await.status, 201);
    assert_eq!(node.post("/register", r#"{"username":"carol","addr":"10.0.0.7:9000"}"#).await.status, 200);
    assert_eq!(node.get("/users?prefix=carol").await.json()["users"][0]["addr"], "10.0.0.7:9000");
}

#[tokio::test]
async fn a_port_without_an_ip_is_completed_with_the_client_address() {
    let node = TestNode::new(leading());
    let answer = node.post("/register", r#"{"username":"alice","addr":":9000"}"#).await;
    assert_eq!(answer.json()["message"], "User 'alice' registered successfully at 10.0.0.9:9000");
}

#[tokio::test]
async fn an_invalid_registration_is_rejected_with_the_field_and_the_valid_values() {
    let node = TestNode::new(leading());
    for (body, code, part) in [
        ("{\"username\":\"alice\",}", "invalid_json", "line 1 column 21"),
        ("", "invalid_json", "line 1 column 0"),
        ("[]", "invalid_json", "an object"),
        ("{}", "missing_field", "\"username\""),
        (r#"{"username":5}"#, "invalid_field", "\"username\""),
        (r#"{"username":"a","addr":9000}"#, "invalid_field", "\"addr\""),
        (r#"{"username":"a","password":{}}"#, "invalid_field", "\"password\""),
        (r#"{"username":"a","metadata":[]}"#, "invalid_field", "\"metadata\""),
        (r#"{"username":"../x"}"#, "invalid_username", "\"../x\""),
        (r#"{"username":""}"#, "invalid_username", "1 to 64"),
        (r#"{"username":"a/b"}"#, "invalid_username", "single spaces"),
        (r#"{"username":"a","addr":"localhost:9000"}"#, "invalid_addr", "IP:PORT"),
        (r#"{"username":"a","addr":"10.0.0.1:0"}"#, "invalid_addr", "10.0.0.1:0"),
    ] {
        let message = node.post("/register", body).await.expect_error(400, code);
        assert!(message.contains(part), "{body}: {message}");
    }
    assert_eq!(node.memory.faults().calls(), 0);
}

#[tokio::test]
async fn metadata_beyond_a_limit_is_rejected_with_the_limit_and_the_value() {
    let node = TestNode::new(leading());
    let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "{}".to_owned() + &"}".repeat(levels));
    for (metadata, parts) in [
        (nested(16), ["17", "at most 16"]),
        (nested(100), ["17 or more", "at most 16"]),
        (format!("{{\"a\":\"{}\"}}", "x".repeat(5000)), ["5008 bytes", "at most 4096"]),
        (r#"{"b":{"k":1,"k":2}}"#.to_owned(), ["\"k\"", "twice"]),
    ] {
        let body = format!("{{\"username\":\"a\",\"metadata\":{metadata}}}");
        let message = node.post("/register", body).await.expect_error(400, "invalid_field");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    // The size limit holds for new users, so the bucket was read once.
    assert_eq!(node.memory.faults().calls(), 1);
    let body = format!("{{\"username\":\"b\",\"metadata\":{}}}", nested(15));
    assert_eq!(node.post("/register", body).await.status, 201);
}

#[tokio::test]
async fn a_registration_gets_503_and_has_no_effect_while_the_storage_is_unavailable() {
    let node = TestNode::new(leading());
    node.memory.faults().set_outage(Some(Fault::Transient));
    node.post("/register", r#"{"username":"alice"}"#).await.expect_error(503, "storage_unavailable");
    node.memory.faults().set_outage(None);
    assert_eq!(node.post("/register", r#"{"username":"alice"}"#).await.status, 201);
}

#[tokio::test]
async fn users_are_listed_with_their_presence_and_without_their_passwords() {
    let node = TestNode::with_alice_and_bob().await;
    let carol = r#"{"username":"carol","password":"secret","metadata":{"room":5}}"#;
    assert_eq!(node.post("/register", carol).await.status, 201);
    node.post("/heartbeat", r#"{"username":"bob","addr":"10.0.0.2:9001"}"#).await;
    let answer = node.get("/users").await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("argon2"));
    let json = answer.json();
    assert_eq!(json["count"], 3);
    let [alice, bob, carol] = json["users"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(
        *alice,
        json!({
            "id": alice["id"], "username": "alice", "addr": "10.40.6.26:9000", "status": "offline",
            "registered_at": alice["registered_at"], "last_seen": null, "metadata": {}, "online": false,
        })
    );
    assert_eq!((&bob["status"], &bob["online"]), (&json!("online"), &json!(true)));
    assert_eq!(bob["addr"], "10.0.0.2:9001");
    for moment in [&alice["registered_at"], &bob["last_seen"]] {
        let moment = moment.as_str().unwrap();
        assert!(moment.len() == 20 && moment.ends_with('Z'), "{moment}");
    }
    assert_eq!((&carol["metadata"], &carol["addr"]), (&json!({"room": 5}), &json!("")));
}

#[tokio::test]
async fn users_are_paged() {
    let node = TestNode::with_alice_and_bob().await;
    let names = |json: serde_json::Value| {
        let users = json["users"].as_array().unwrap().clone();
        assert_eq!(json["count"], users.len());
        users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(node.get("/users?limit=1").await.json()), ["alice"]);
    assert_eq!(names(node.get("/users?limit=1&after=alice").await.json()), ["bob"]);
    assert_eq!(names(node.get("/users?prefix=b").await.json()), ["bob"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_lists_no_users_before_its_index_is_complete() {
    let node = TestNode::with_alice_and_bob().await;
    node.role.send_modify(|role| role.term = role.term.next());
    node.registry.begin_term(rollcall_core::Term(8));
    node.get("/users").await.expect_error(503, "index_rebuilding");
    node.registry.rebuild_index(rollcall_core::Term(8)).await;
    assert_eq!(node.get("/users").await.json()["count"], 2);
}

#[tokio::test]
async fn a_list_with_a_known_etag_is_not_sent_again() {
    let node = TestNode::with_alice_and_bob().await;
    for path in ["/users", "/discover", "/discovery/online"] {
        let first = node.get(path).await;
        let mut again = request("GET", path, "");
        again.headers_mut().insert("if-none-match", first.headers["etag"].clone());
        let again = node.send(again).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
        assert_eq!(again.headers["etag"], first.headers["etag"]);
        let mut head = request("HEAD", path, "");
        *head.method_mut() = Method::HEAD;
        let head = node.send(head).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
        assert_eq!(head.headers["etag"], first.headers["etag"]);
    }
}
