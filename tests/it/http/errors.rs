//! Every kind of invalid request gets its documented error, and stores nothing.

use image::ImageFormat;

use crate::cluster::{Cluster, Plan};
use crate::sample_images::{encoded_image, png, png_with_declared_size};

const KIB: usize = 1024;
const MAX_JSON: usize = 64 * KIB;
const MAX_IMAGE: usize = 512 * KIB;

/// Path and body of a POST; status, code and a part of the message of its response.
type InvalidRequest = (&'static str, &'static str, u16, &'static str, &'static str);

const INVALID_BODIES: &[InvalidRequest] = &[
    ("/register", "", 400, "invalid_json", "line 1 column 0"),
    ("/register", "{\"username\":\n \"alice\",}", 400, "invalid_json", "line 2 column 10"),
    ("/register", r#"["alice"]"#, 400, "invalid_json", "object"),
    ("/register", r#"{"username":"alice","username":"bob"}"#, 400, "invalid_json", "duplicate"),
    ("/register", r#"{"addr":"10.0.0.1:9000"}"#, 400, "missing_field", "username"),
    ("/register", r#"{"username":7}"#, 400, "invalid_field", "a number"),
    ("/register", r#"{"username":null}"#, 400, "invalid_field", "null"),
    ("/register", r#"{"username":"alice","addr":9000}"#, 400, "invalid_field", "addr"),
    ("/register", r#"{"username":"alice","password":["x"]}"#, 400, "invalid_field", "password"),
    ("/register", r#"{"username":"alice","metadata":"x"}"#, 400, "invalid_field", "metadata"),
    ("/register", r#"{"username":""}"#, 400, "invalid_username", "64"),
    ("/register", r#"{"username":".."}"#, 400, "invalid_username", ".."),
    ("/register", r#"{"username":"a/b"}"#, 400, "invalid_username", "a/b"),
    ("/register", r#"{"username":"alice\u0000"}"#, 400, "invalid_username", "alice"),
    ("/register", r#"{"username":"mona  ali"}"#, 400, "invalid_username", "single spaces"),
    ("/register", r#"{"username":"Zoe\u0308"}"#, 400, "invalid_username", "write it as \"Zoë\""),
    ("/register", r#"{"username":"\ud83d\ude00"}"#, 400, "invalid_username", "of any script"),
    ("/register", r#"{"username":"alice","addr":"10.0.0.1"}"#, 400, "invalid_addr", "10.0.0.1"),
    ("/register", r#"{"username":"alice","addr":"10.0.0.1:0"}"#, 400, "invalid_addr", "10.0.0.1:0"),
    ("/register", r#"{"username":"alice","addr":"localhost:9000"}"#, 400, "invalid_addr", "localhost"),
    ("/heartbeat", "nonsense", 400, "invalid_json", "line 1 column 2"),
    ("/heartbeat", "{}", 400, "missing_field", "username"),
    ("/heartbeat", r#"{"username":true}"#, 400, "invalid_field", "username"),
    ("/heartbeat", r#"{"username":"x/"}"#, 400, "invalid_username", "x/"),
    ("/heartbeat", r#"{"username":"alice","addr":"x"}"#, 400, "invalid_addr", "x"),
    ("/heartbeat", r#"{"username":"nobody"}"#, 404, "user_not_registered", "nobody"),
    ("/upload_image/alice", "no form", 400, "missing_image", "image"),
    ("/nowhere", "x", 404, "not_found", "/nowhere"),
    ("/users", "x", 405, "method_not_allowed", "POST"),
    ("/", "x", 405, "method_not_allowed", "POST"),
];

/// Path of a GET; status and code of its response.
const INVALID_PATHS: &[(&str, u16, &str)] = &[
    ("/register", 405, "method_not_allowed"),
    ("/upload_image/alice", 405, "method_not_allowed"),
    ("/images/nobody", 404, "user_not_registered"),
    ("/images/..%2f..", 400, "invalid_username"),
    ("/image/alice/1733511234-a1b2c3d4.png", 404, "image_not_found"),
    ("/image/alice/..%2f..%2fprofile.json", 404, "image_not_found"),
    ("/image/alice/profile.json", 404, "image_not_found"),
    ("/users/alice", 404, "not_found"),
    ("/users?limit=0", 400, "invalid_field"),
    ("/discover?limit=-1", 400, "invalid_field"),
    ("/discover_with_images?limit=x", 400, "invalid_field"),
];

/// A cluster with one user and one image, and the paths of both objects.
async fn cluster_with_user() -> (Cluster, Vec<String>) {
    let cluster = Plan::quick().start().await;
    cluster.register("present", "10.0.0.1:9000").await;
    cluster.upload("present", &png(8, 8, 1)).await;
    let stored = cluster.stored();
    assert_eq!(stored.len(), 2, "{stored:?}");
    (cluster, stored)
}

#[tokio::test]
async fn each_invalid_request_gets_its_documented_error_and_stores_nothing() {
    let (cluster, stored) = cluster_with_user().await;
    for (path, body, status, code, word) in INVALID_BODIES {
        let answer = cluster.lead().post(path, *body).await;
        let message = answer.expect_error(*status, code);
        assert!(message.contains(word), "{path} {body}: {message:?} does not name {word:?}");
        assert_eq!(answer.header("allow").is_some(), *status == 405, "{path}");
    }
    for (path, status, code) in INVALID_PATHS {
        cluster.lead().get(path).await.expect_error(*status, code);
    }
    assert_eq!(cluster.stored(), stored);
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 1);
}

#[tokio::test]
async fn each_invalid_image_gets_its_documented_error_and_stores_nothing() {
    let (cluster, stored) = cluster_with_user().await;
    let mut cut_off = png(64, 64, 3);
    cut_off.truncate(cut_off.len() / 2);
    let rows: [(Vec<u8>, u16, &str); 8] = [
        (png(129, 1, 0), 400, "image_dimensions"),
        (encoded_image(ImageFormat::Jpeg, 1, 129, 0), 400, "image_dimensions"),
        (png_with_declared_size(60_000, 60_000), 400, "image_dimensions"),
        (cut_off, 400, "image_corrupt"),
        (b"GIF89a, an unsupported format".to_vec(), 415, "image_type"),
        (Vec::new(), 415, "image_type"),
        (b"<svg onload='alert(1)'/>".to_vec(), 415, "image_type"),
        (vec![0x89; MAX_IMAGE + 1], 413, "body_too_large"),
    ];
    for (bytes, status, code) in rows {
        cluster.lead().upload("present", &bytes).await.expect_error(status, code);
    }
    cluster.lead().upload_as("present", "picture", &png(8, 8, 1)).await.expect_error(400, "missing_image");
    cluster.lead().upload("nobody", &png(8, 8, 1)).await.expect_error(404, "user_not_registered");
    cluster.lead().upload("..%2fpresent", &png(8, 8, 1)).await.expect_error(400, "invalid_username");
    assert_eq!(cluster.stored(), stored);
}

#[tokio::test]
async fn images_of_every_format_up_to_the_limit_are_stored_byte_for_byte() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let formats = [
        (ImageFormat::Png, "png", "image/png"),
        (ImageFormat::Jpeg, "jpg", "image/jpeg"),
        (ImageFormat::WebP, "webp", "image/webp"),
    ];
    for (format, ending, media_type) in formats {
        let bytes = encoded_image(format, 128, 128, 9);
        let name = cluster.upload("alice", &bytes).await;
        assert!(name.ends_with(&format!(".{ending}")), "{name}");
        let answer = cluster.lead().get(&format!("/image/alice/{name}")).await;
        assert_eq!((answer.header("content-type"), &answer.body[..]), (Some(media_type), &bytes[..]));
        let stored = std::fs::read(cluster.bucket().join(format!("users/alice/images/{name}"))).expect("it is stored");
        assert_eq!(stored, bytes);
    }
}

#[tokio::test]
async fn a_taken_username_is_409_and_the_first_registration_is_unchanged() {
    let cluster = Plan::quick().start().await;
    let id = cluster.register("alice", "10.0.0.1:9000").await;
    let profile = cluster.bucket().join("users/alice/profile.json");
    let before = std::fs::read(&profile).expect("it is stored");
    for body in [
        r#"{"username":"alice","addr":"10.0.0.2:9000"}"#,
        r#"{"username":"alice"}"#,
        r#"{"username":"alice","addr":"10.0.0.1:9000","metadata":{"a":1}}"#,
        r#"{"username":"alice","addr":"10.0.0.1:9000","password":"x"}"#,
    ] {
        let answer = cluster.lead().post("/register", body).await;
        let message = answer.expect_error(409, "user_exists");
        assert!(message.contains("alice"), "{message}");
        assert_eq!(answer.json()["error"], "exists");
    }
    let again = cluster.lead().post("/register", r#"{"addr":"10.0.0.1:9000","username":"alice","unknown":[]}"#).await;
    assert_eq!((again.status, again.json()["user_id"].as_str()), (200, Some(id.as_str())));
    assert_eq!(std::fs::read(&profile).expect("it is stored"), before);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_rejected_beyond() {
    let (cluster, stored) = cluster_with_user().await;
    let padded = |length: usize| {
        let object = r#"{"username":"padded"}"#;
        object.to_owned() + &" ".repeat(length - object.len())
    };
    let message = cluster.lead().post("/register", padded(MAX_JSON + 1)).await.expect_error(413, "body_too_large");
    assert!(message.contains("64 KiB"), "{message}");
    // This body is far longer than the limit on bodies, but the server reads and discards all of
    // it. So the response arrives.
    cluster.lead().post("/heartbeat", padded(900 * KIB)).await.expect_error(413, "body_too_large");
    assert_eq!(cluster.stored(), stored);
    assert_eq!(cluster.lead().post("/register", padded(MAX_JSON)).await.status, 201);
}

#[tokio::test]
async fn usernames_that_differ_in_case_only_are_two_users() {
    let cluster = Plan::quick().nodes(1).start().await;
    let ids = [cluster.register("alice", "10.0.0.1:9000").await, cluster.register("Alice", "10.0.0.1:9000").await];
    assert_ne!(ids[0], ids[1]);
    let longest = "x".repeat(64);
    cluster.register(&longest, "10.0.0.1:9000").await;
    let too_long = format!(r#"{{"username":"{longest}x"}}"#);
    cluster.lead().post("/register", too_long).await.expect_error(400, "invalid_username");
    assert_eq!(cluster.lead().get("/users").await.json()["count"], 3);
}
