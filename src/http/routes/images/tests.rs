use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{FutureExt, stream};
use http_body_util::BodyExt;
use image::ImageFormat;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::http::limits::{IMAGE_PERMITS, LIST_CHUNK_BYTES, LIST_PERMIT_BYTES};
use crate::http::params::ClientAddr;
use crate::http::testing::{TestNode, TestResponse, client, request};
use crate::registry::testing::{encoded_image, png_chunk, png_with};
use crate::storage::{Backend, Fault, Key};
use rollcall_core::{AddressBlock, Page};

/// A form as `curl -F` sends it, with the field `other` and then the named field.
fn form(field: &str, content: &[u8]) -> (String, Vec<u8>) {
    let head = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--XX\r\nContent-Disposition: form-data; \
         name=\"{field}\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\n"
    );
    ("multipart/form-data; boundary=XX".to_owned(), [head.as_bytes(), content, b"\r\n--XX--\r\n"].concat())
}

async fn upload_form(node: &TestNode, user: &str, (content_type, body): (String, Vec<u8>)) -> TestResponse {
    let mut request = request("POST", &format!("/upload_image/{user}"), body);
    request.headers_mut().insert("content-type", content_type.parse().unwrap());
    node.send(request).await
}

async fn upload(node: &TestNode, user: &str, content: &[u8]) -> TestResponse {
    upload_form(node, user, form("image", content)).await
}

#[tokio::test]
async fn a_username_in_a_path_is_percent_encoded_and_a_plus_is_a_plus() {
    let node = TestNode::with_alice_and_bob().await;
    for name in ["mona ali", "Zoë", "a+b", "50%"] {
        let body = serde_json::json!({"username": name}).to_string();
        assert_eq!(node.post("/register", body).await.status, 201, "{name}");
    }
    for segment in ["mona%20ali", "Zo%C3%AB", "Zo%c3%ab", "Zoë", "a+b", "a%2Bb", "50%25", "%61lice"] {
        assert_eq!(node.get(&format!("/images/{segment}")).await.status, 200, "{segment}");
    }
    for segment in ["mona+ali", "a%20b", "zo%C3%AB", "Zoe%CC%88"] {
        node.get(&format!("/images/{segment}")).await.expect_error(404, "user_not_registered");
    }
}

#[tokio::test]
async fn an_uploaded_image_comes_back_byte_for_byte() {
    let node = TestNode::with_alice_and_bob().await;
    for (format, ending, media_type) in [
        (ImageFormat::Png, ".png", "image/png"),
        (ImageFormat::Jpeg, ".jpg", "image/jpeg"),
        (ImageFormat::WebP, ".webp", "image/webp"),
    ] {
        let bytes = encoded_image(format, 128, 128);
        let answer = upload(&node, "alice", &bytes).await;
        let json = answer.json();
        assert_eq!(answer.status, 201);
        let filename = json["filename"].as_str().unwrap();
        assert!(filename.ends_with(ending), "{filename}");
        assert_eq!(json, json!({"success": true, "message": "Image uploaded successfully", "filename": filename}));
        let answer = node.get(&format!("/image/alice/{filename}")).await;
        assert_eq!(answer.body, bytes);
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
}

#[tokio::test]
async fn an_image_is_not_sent_for_a_known_etag_or_a_head_request() {
    let node = TestNode::with_alice_and_bob().await;
    let bytes = encoded_image(ImageFormat::Png, 5, 5);
    let filename = upload(&node, "alice", &bytes).await.json()["filename"].as_str().unwrap().to_owned();
    let path = format!("/image/alice/{filename}");
    let head = node.send(request("HEAD", &path, "")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
    let mut again = request("GET", &path, "");
    again.headers_mut().insert("if-none-match", head.headers["etag"].clone());
    let again = node.send(again).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn images_are_listed_oldest_first() {
    let node = TestNode::with_alice_and_bob().await;
    assert_eq!(node.get("/images/alice").await.json(), json!({"images": [], "count": 0}));
    let mut names = Vec::new();
    for _ in 0..3 {
        let answer = upload(&node, "alice", &encoded_image(ImageFormat::Png, 2, 2)).await;
        names.push(answer.json()["filename"].clone());
    }
    assert_eq!(node.get("/images/alice").await.json(), json!({"images": names, "count": 3}));
}

#[tokio::test]
async fn an_invalid_image_is_rejected_with_its_error() {
    let node = TestNode::with_alice_and_bob().await;
    let large = upload(&node, "alice", &encoded_image(ImageFormat::Png, 256, 256)).await;
    let message = "Upload failed: Validation error: Image too large: 256x256 (max 128x128)";
    assert_eq!(large.expect_error(400, "image_dimensions"), message);
    upload(&node, "alice", b"GIF89a....").await.expect_error(415, "image_type");
    upload(&node, "alice", b"").await.expect_error(415, "image_type");
    let animated = png_with(&png_chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]));
    let message = upload(&node, "alice", &animated).await.expect_error(415, "image_type");
    assert!(message.contains("Animated images are not supported"), "{message}");
    let valid_image = encoded_image(ImageFormat::Png, 100, 100);
    upload(&node, "alice", &valid_image[..valid_image.len() / 2]).await.expect_error(400, "image_corrupt");
    let other_field = form("picture", &valid_image);
    upload_form(&node, "alice", other_field).await.expect_error(400, "missing_image");
    let (_, body) = form("image", &valid_image);
    upload_form(&node, "alice", ("text/plain".to_owned(), body.clone())).await.expect_error(400, "missing_image");
    let (content_type, one) = form("image", &valid_image);
    let twice = [one.strip_suffix(b"--\r\n").unwrap(), &one[b"--XX".len()..]].concat();
    let message = upload_form(&node, "alice", (content_type, twice)).await.expect_error(400, "invalid_field");
    assert!(message.contains("given twice"), "{message}");
    let truncated_form = ("multipart/form-data; boundary=XX".to_owned(), body[..body.len() / 2].to_vec());
    upload_form(&node, "alice", truncated_form).await.expect_error(400, "missing_image");
    node.post("/upload_image/alice", valid_image.clone()).await.expect_error(400, "missing_image");
    upload(&node, "nobody", &valid_image).await.expect_error(404, "user_not_registered");
    upload(&node, "%2e%2e%2falice", &valid_image).await.expect_error(400, "invalid_username");
    assert_eq!(node.get("/images/alice").await.json()["count"], 0);
}

#[tokio::test]
async fn an_image_has_at_most_512_kib() {
    let node = TestNode::with_alice_and_bob().await;
    // A text chunk pads the image to the wanted length.
    let bare = png_with(&png_chunk(*b"tEXt", b"c\0")).len();
    let image_of_length = |length: usize| {
        let comment = [&b"c\0"[..], &vec![b'x'; length - bare]].concat();
        png_with(&png_chunk(*b"tEXt", &comment))
    };
    assert_eq!(image_of_length(MAX_IMAGE_BYTES).len(), MAX_IMAGE_BYTES);
    assert_eq!(upload(&node, "alice", &image_of_length(MAX_IMAGE_BYTES)).await.status, 201);
    let message =
        upload(&node, "alice", &image_of_length(MAX_IMAGE_BYTES + 1)).await.expect_error(413, "body_too_large");
    assert!(message.contains("512 KiB"), "{message}");
    upload(&node, "alice", &image_of_length(MAX_IMAGE_BYTES + MAX_FORM_OVERHEAD_BYTES))
        .await
        .expect_error(413, "body_too_large");
}

#[tokio::test]
async fn an_invalid_image_name_gets_404() {
    let node = TestNode::with_alice_and_bob().await;
    for file in
        ["1733511234-a1b2c3d4.png", "profile.json", "%2e%2e%2fprofile.json", "..%2F..%2Fcluster.json", "%ff", "x"]
    {
        node.get(&format!("/image/alice/{file}")).await.expect_error(404, "image_not_found");
    }
    node.get("/image/nobody/1733511234-a1b2c3d4.png").await.expect_error(404, "image_not_found");
    node.get("/image/%2e%2e/1733511234-a1b2c3d4.png").await.expect_error(400, "invalid_username");
    node.get("/images/nobody").await.expect_error(404, "user_not_registered");
    node.get("/images/%2e%2e%2f").await.expect_error(400, "invalid_username");
    node.get("/images/%ff").await.expect_error(400, "invalid_username");
}

#[tokio::test]
async fn online_clients_are_listed_with_their_newest_images() {
    let node = TestNode::with_alice_and_bob().await;
    let empty = json!({"online_clients": [], "count": 0});
    assert_eq!(node.get("/discover_with_images").await.json(), empty);
    let mut images = Vec::new();
    for side in 1..=22 {
        let bytes = encoded_image(ImageFormat::Png, side, 1);
        let filename = upload(&node, "alice", &bytes).await.json()["filename"].clone();
        images.push(json!({"filename": filename, "data": STANDARD.encode(&bytes)}));
    }
    for body in [r#"{"username":"alice"}"#, r#"{"username":"bob"}"#] {
        node.post("/heartbeat", body).await;
    }
    let answer = node.get("/discover_with_images").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let alice = json!({"username": "alice", "addr": "10.40.6.26:9000", "images": images[2..]});
    let bob = json!({"username": "bob", "addr": "", "images": []});
    assert_eq!(answer.json(), json!({"online_clients": [alice, bob], "count": 2}));
    let page = node.get("/discover_with_images?limit=1&after=alice").await.json();
    assert_eq!(page, json!({"online_clients": [bob], "count": 1}));
    node.get("/discover_with_images?limit=0").await.expect_error(400, "invalid_field");
}

#[tokio::test]
async fn a_response_with_images_is_cut_off_when_the_storage_fails_in_its_middle() {
    let node = TestNode::with_alice_and_bob().await;
    for body in [r#"{"username":"alice"}"#, r#"{"username":"bob"}"#] {
        node.post("/heartbeat", body).await;
    }
    // Listing the images of alice succeeds. Listing those of bob fails.
    node.memory.faults().inject(1, &Fault::None);
    node.memory.faults().set_outage(Some(Fault::Transient));
    let mut request = request("GET", "/discover_with_images", "");
    request.extensions_mut().insert(ClientAddr("10.0.0.9".parse().unwrap()));
    let response = node.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn slow_uploads_do_not_block_other_uploads() {
    let node = TestNode::with_alice_and_bob().await;
    let mut slow = JoinSet::new();
    for _ in 0..200 {
        let endless = stream::pending::<Result<&[u8], std::io::Error>>();
        let mut request = request("POST", "/upload_image/alice", Body::from_stream(endless));
        request.extensions_mut().insert(ClientAddr("10.0.0.9".parse().unwrap()));
        slow.spawn(node.router.clone().oneshot(request));
    }
    tokio::task::yield_now().await;
    let started = Instant::now();
    assert_eq!(upload(&node, "alice", &encoded_image(ImageFormat::Png, 2, 2)).await.status, 201);
    assert_eq!(started.elapsed(), Duration::ZERO);
    for slow in slow.join_all().await {
        assert_eq!(slow.unwrap().status(), 408);
    }
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_download_beyond_the_limit_gets_503_unless_another_client_has_more_downloads() {
    let node = TestNode::with_alice_and_bob().await;
    let (mut running, block) = (Vec::new(), AddressBlock::of(client().ip()));
    let (displaced, page) = (CancellationToken::new(), Page::default());
    let open = |block, displaced| node.registry.online_with_images(&page, clock::boot_now(), block, displaced);
    while let Some(Ok(chunks)) = open(block, displaced.clone()).now_or_never() {
        running.push(chunks);
    }
    assert_eq!(running.len(), 64);
    node.get("/discover_with_images").await.expect_error(503, "overloaded");
    assert!(!displaced.is_cancelled());
    let mut other = Box::pin(open(AddressBlock::of([10, 0, 0, 10].into()), CancellationToken::new()));
    assert!((&mut other).now_or_never().is_none() && displaced.is_cancelled());
    running.pop();
    assert!(other.await.is_ok());
    assert_eq!(node.get("/discover_with_images").await.status, 200);
}

#[tokio::test]
async fn routes_of_images_answer_503_while_the_storage_is_unavailable() {
    let node = TestNode::with_alice_and_bob().await;
    node.post("/heartbeat", r#"{"username":"alice"}"#).await;
    node.memory.faults().set_outage(Some(Fault::Transient));
    for path in ["/discover_with_images", "/images/alice", "/image/alice/1733511234-a1b2c3d4.png"] {
        node.get(path).await.expect_error(503, "storage_unavailable");
    }
    let picture = encoded_image(ImageFormat::Png, 2, 2);
    upload(&node, "alice", &picture).await.expect_error(503, "storage_unavailable");
}

/// The path of an image of this length, which another program has stored for `alice`.
async fn store_image(node: &TestNode, file: &str, length: usize) -> String {
    let key = Key::Image(Username::parse("alice").unwrap(), ImageName::parse(file).unwrap());
    node.memory.create(&key, vec![b'x'; length].into()).await.unwrap();
    format!("/image/alice/{file}")
}

#[tokio::test]
async fn an_image_that_is_not_read_holds_a_permit_and_a_response_without_a_body_takes_none() {
    let node = TestNode::with_alice_and_bob().await;
    let path = store_image(&node, "1733511234-a1b2c3d4.png", LIST_CHUNK_BYTES + 1).await;
    let get = || {
        let mut request = request("GET", &path, "");
        request.extensions_mut().insert(client());
        node.router.clone().oneshot(request)
    };
    let mut unread = Vec::new();
    for _ in 0..IMAGE_PERMITS {
        let response = get().await.unwrap();
        assert_eq!(response.status(), 200);
        unread.push(response);
    }
    node.get(&path).await.expect_error(503, "overloaded");
    node.get("/images/alice").await.expect_error(503, "overloaded");
    assert_eq!(node.get("/users").await.status, 200, "lists have permits of their own");
    let head = node.send(request("HEAD", &path, "")).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("65537")));
    let mut known = request("GET", &path, "");
    known.headers_mut().insert("if-none-match", head.headers["etag"].clone());
    assert_eq!(node.send(known).await.status, 304);
    let mut changed = request("GET", &path, "");
    changed.headers_mut().insert("if-none-match", "\"x\"".parse().unwrap());
    node.send(changed).await.expect_error(503, "overloaded");
    // The list of images is shorter than a chunk. It returns its permit before it is read.
    unread.pop();
    assert_eq!(node.get("/images/alice").await.status, 200);
    let image = node.get(&path).await;
    assert_eq!((image.body.len(), image.header("content-length")), (LIST_CHUNK_BYTES + 1, Some("65537")));
}

#[tokio::test]
async fn a_large_image_of_another_program_takes_a_permit_for_each_mebibyte() {
    let node = TestNode::with_alice_and_bob().await;
    let path = store_image(&node, "1733511234-a1b2c3d4.png", 3 * LIST_PERMIT_BYTES + 1).await;
    let mut unread = Vec::new();
    loop {
        let mut request = request("GET", &path, "");
        request.extensions_mut().insert(client());
        let response = node.router.clone().oneshot(request).await.unwrap();
        if response.status() != 200 {
            break;
        }
        unread.push(response);
        assert!(unread.len() <= IMAGE_PERMITS, "no download was rejected");
    }
    assert_eq!(unread.len(), IMAGE_PERMITS / 4);
    let body = unread.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 3 * LIST_PERMIT_BYTES + 1);
}
