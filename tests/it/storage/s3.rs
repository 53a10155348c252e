//! The S3 store on [`S3Server`]: the suite, and the behaviour that only this store has.

use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use rollcall::storage::{
    Backend, BackendError, Bucket, ConnectionConfig, CredentialVariables, Folder, Key, ObjectStoreBackend,
    ObjectVersion, S3Config,
};
use rollcall_test_support::s3_server::{BUCKET, Preconditions, S3Server};

use super::suite::{self, PAGE_SIZE, every_behaviour, image, profile, put, user};
use crate::cluster::{Cluster, Plan};

pub(super) fn config(endpoint: &str) -> S3Config {
    let keys = [("AWS_ACCESS_KEY_ID", "test".to_owned()), ("AWS_SECRET_ACCESS_KEY", "a secret of S3".to_owned())];
    S3Config {
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        path_style: true,
        connection: ConnectionConfig { page_size: PAGE_SIZE, ..ConnectionConfig::default() },
        credentials: CredentialVariables::from_iter(keys),
    }
}

fn store(config: &S3Config) -> Arc<ObjectStoreBackend> {
    Arc::new(ObjectStoreBackend::s3(config).expect("the configuration is valid"))
}

fn open() -> Ready<(Bucket, S3Server)> {
    let server = S3Server::start(Preconditions::Honoured);
    ready((suite::bucket(store(&config(&server.url()))), server))
}

every_behaviour!(super::s3::open);

#[tokio::test]
async fn each_operation_is_one_request() {
    let (bucket, server) = open().await;
    let version = put(&bucket, &profile("alice"), b"{}").await;
    bucket.replace_if(&profile("alice"), &version, Bytes::from_static(b"{ }")).await.unwrap().expect("it is current");
    bucket.get(&profile("alice")).await.unwrap().expect("it exists");
    bucket.list(&Folder::Users).await.unwrap();
    bucket.delete(&profile("alice")).await.unwrap();
    let object = format!("/{BUCKET}/users/alice/profile.json");
    let requests = server.requests();
    let (listings, others): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.contains('?'));
    assert!(listings.len() == 1 && listings[0].contains("prefix=users/"), "{requests:?}");
    assert_eq!(others, ["PUT", "PUT", "GET", "DELETE"].map(|method| format!("{method} {object}")).each_ref());
}

#[tokio::test]
async fn a_prefix_is_a_bucket_of_its_own() {
    let (bucket, server) = open().await;
    put(&bucket, &profile("outside"), b"{}").await;
    let mut config = config(&server.url());
    config.prefix = "team/é".to_owned();
    let inside = suite::bucket(store(&config));
    assert_eq!(inside.list(&Folder::Users).await.unwrap(), Vec::<String>::new());
    put(&inside, &profile("inside"), b"{}").await;
    assert_eq!(inside.list(&Folder::Users).await.unwrap(), ["inside"]);
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["outside"]);
    assert_eq!(server.names(), ["team/é/users/inside/profile.json", "users/outside/profile.json"]);
    assert!(inside.describe().contains("team/é"), "{}", inside.describe());
}

#[tokio::test]
async fn objects_are_stored_with_their_media_type() {
    let (bucket, server) = open().await;
    put(&bucket, &profile("alice"), b"{}").await;
    put(&bucket, &Key::Image(user("alice"), image(1)), b"png").await;
    assert_eq!(server.media_type("users/alice/profile.json").as_deref(), Some("application/json"));
    assert_eq!(server.media_type(&format!("users/alice/images/{}", image(1))).as_deref(), Some("image/png"));
}

#[tokio::test]
async fn an_object_that_is_too_large_affects_that_object_alone() {
    let (bucket, server) = open().await;
    let limit = rollcall::storage::MAX_OBJECT_BYTES;
    server.put("users/alice/profile.json", vec![b' '; limit]);
    server.put("users/eve/profile.json", vec![b' '; limit + 1]);
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().expect("it exists").bytes.len(), limit);
    let store = store(&config(&server.url()));
    let error = store.get(&profile("eve")).await.expect_err("it is too large");
    assert!(matches!(&error, BackendError::Unreadable(text) if text.contains("larger than")), "{error}");
}

#[tokio::test]
async fn a_missing_bucket_is_not_an_empty_bucket() {
    let server = S3Server::start(Preconditions::Honoured);
    let mut config = config(&server.url());
    config.bucket = "another".to_owned();
    let store = store(&config);
    let errors = [
        store.get(&Key::Cluster).await.err(),
        store.create(&Key::Cluster, Bytes::new()).await.err(),
        store.list(&Folder::Users, None).await.err(),
        store.delete(&Key::Cluster).await.err(),
    ];
    for error in errors {
        let Some(BackendError::Permanent(text)) = error else { panic!("{error:?}") };
        assert!(text.contains("NoSuchBucket") && text.contains("S3_BUCKET"), "{text}");
    }
}

#[tokio::test]
async fn objects_with_names_that_no_path_can_have_are_ignored() {
    let (bucket, server) = open().await;
    put(&bucket, &profile("alice"), b"{}").await;
    for name in ["users//profile.json", "users/../profile.json", "users/a\u{7}b/profile.json", "users/./a"] {
        server.put(name, "{}");
    }
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["alice"]);
}

#[tokio::test]
async fn a_token_that_becomes_unusable_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "token").unwrap();
    let mut config = config("http://127.0.0.1:1");
    config.credentials = CredentialVariables::from_iter([
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/".to_owned()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap().to_owned()),
    ]);
    let store = store(&config);
    std::fs::write(&file, "hidden\n").unwrap();
    let version = ObjectVersion("\"1\"".into());
    for error in [
        store.get(&Key::Cluster).await.err(),
        store.create(&Key::Cluster, Bytes::new()).await.err(),
        store.replace_if(&Key::Cluster, &version, Bytes::new()).await.err(),
        store.list(&Folder::Users, None).await.err(),
        store.delete(&Key::Cluster).await.err(),
    ] {
        let Some(BackendError::Transient { cause, .. }) = error else { panic!("{error:?}") };
        assert!(cause.contains("files with tokens") && !cause.contains("hidden"), "{cause}");
    }
}

#[tokio::test]
async fn invalid_credentials_are_reported_before_any_request_and_never_shown() {
    for (variables, word) in [
        (vec![("AWS_ACCESS_KEY_ID", "an id"), ("AWS_SECRET_ACCESS_KEY", "hid\nden")], "AWS_SECRET_ACCESS_KEY"),
        (vec![("AWS_SECRET_ACCESS_KEY", "hidden")], "AWS_ACCESS_KEY_ID"),
        (vec![("AWS_ACCESS_KEY_ID", "hidden")], "AWS_SECRET_ACCESS_KEY"),
    ] {
        let mut config = config("http://127.0.0.1:1");
        config.credentials = variables.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        let error = ObjectStoreBackend::s3(&config).err().expect("they cannot work").to_string();
        assert!(error.contains(word) && !error.contains("hid"), "{error}");
        assert!(!format!("{config:?}").contains("hid"), "{config:?}");
    }
}

#[tokio::test]
async fn an_unusable_certificate_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let mut config = config("https://127.0.0.1:1");
    config.connection.ca_file = Some(file.clone());
    for content in
        [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")]
    {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = ObjectStoreBackend::s3(&config).err().expect("it has no certificate").to_string();
        assert!(error.contains("storage_ca_file") && error.contains("ca.pem"), "{content:?}: {error}");
    }
}

#[tokio::test]
async fn the_requests_of_each_operation_of_a_client_are_the_documented_ones() {
    let server = S3Server::start(Preconditions::Honoured);
    let cluster = start(&server).await;
    cluster.leader().await;
    let mut found = Vec::new();
    let mut before = 0;
    let mut count = |operation: &'static str| {
        // Only the requests that name the user: nodes also list users and try the store.
        let own = server.requests().into_iter().filter(|request| request.contains("/alice/"));
        let kind =
            |request: &str| if request.contains('?') { "LIST" } else { request.split(' ').next().unwrap() }.to_owned();
        let all: Vec<String> = own.map(|request| kind(&request)).collect();
        found.push((operation, all[before..].join(" ")));
        before = all.len();
    };
    let body = r#"{"username":"alice","password":"correct horse","addr":"10.0.0.1:9000"}"#;
    let registered = cluster.lead().post("/register", body).await;
    assert_eq!(registered.status, 201, "{registered}");
    count("a new name");
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await.expect_error(409, "user_exists");
    count("a name that exists");
    let bearer = format!("Bearer {}", registered.json()["token"].as_str().expect("a token"));
    for _ in 0..3 {
        let beat = cluster.lead().header("authorization", &bearer).post("/heartbeat", r#"{"username":"alice"}"#).await;
        assert_eq!(beat.status, 200, "{beat}");
        cluster.lead().get("/discover").await;
        cluster.lead().get("/users").await;
    }
    count("heartbeats and lists");
    let image = crate::sample_images::png(8, 8, 1);
    let upload = cluster.lead().header("authorization", &bearer).upload("alice", &image).await;
    assert_eq!(upload.status, 201, "{upload}");
    count("an image");
    let upload = cluster.lead().header("authorization", &bearer).upload("alice", &image).await;
    assert_eq!(upload.status, 201, "{upload}");
    for _ in 0..3 {
        assert_eq!(cluster.lead().get("/images/alice").await.json()["count"], 2);
    }
    count("another image, and lists of its user's images");
    for _ in 0..3 {
        assert_eq!(cluster.lead().get("/discover_with_images").await.status, 200);
    }
    count("the online clients with their images");
    let change = r#"{"username":"alice","password":"correct horse","new_password":"battery staple"}"#;
    let changed = cluster.lead().post("/password", change).await;
    assert_eq!(changed.status, 200, "{changed}");
    count("a new password");
    let expected = [
        ("a new name", "PUT"),
        ("a name that exists", "GET"),
        ("heartbeats and lists", ""),
        ("an image", "LIST PUT"),
        ("another image, and lists of its user's images", "PUT"),
        ("the online clients with their images", "GET GET"),
        ("a new password", "GET PUT"),
    ];
    assert_eq!(found, expected.map(|(operation, requests)| (operation, requests.to_owned())));
}

async fn start(server: &S3Server) -> Cluster {
    let plan = server.variables().into_iter().fold(Plan::quick(), |plan, (name, value)| plan.env(name, &value));
    plan.start().await
}

#[tokio::test]
async fn a_cluster_works_on_s3() {
    let server = S3Server::start(Preconditions::Honoured);
    let mut cluster = start(&server).await;
    assert!(cluster.stdout(0).contains(&format!("initialized (S3 bucket {BUCKET} at ")), "{}", cluster.stdout(0));
    let id = cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    assert!(server.names().contains(&"users/alice/profile.json".to_owned()), "{:?}", server.names());
    assert!(!cluster.dir().join("data/bucket").exists(), "nothing is stored locally");

    let old = cluster.leader().await;
    cluster.kill9(old);
    cluster.leader_after(old).await;
    assert_eq!(cluster.lead().get("/users").await.json()["users"][0]["id"], id.as_str());
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await.expect_error(409, "user_exists");
}
