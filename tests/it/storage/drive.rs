//! The store on Google Drive, on [`DriveServer`]: the suite, and the behaviour that only this store
//! has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{
    Backend, BackendError, Bucket, CreateOutcome, DriveBackend, DriveConfig, Folder, Key, RetryPolicy,
};
use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER, FolderState};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::suite::{self, PAGE_SIZE, every_behaviour, image, profile, put, user};

/// The configuration of a node that keeps its files in this directory. `url` is the server's.
pub(super) fn config(url: &str, dir: &TempDir) -> DriveConfig {
    DriveConfig {
        drive: DRIVE.to_owned(),
        folder: FOLDER.to_owned(),
        credentials: "credentials/service-account.json".into(),
        endpoint: Some(url.to_owned()),
        table_dir: Some(dir.path().to_owned()),
        settle_time: Duration::from_millis(50),
        page_size: PAGE_SIZE,
    }
}

/// A node's store, and the node's directory.
pub(super) async fn node(server: &DriveServer) -> (Arc<DriveBackend>, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = DriveBackend::connect(&config(&server.url(), &dir)).await.expect("the folder can be used");
    (Arc::new(store), dir)
}

/// The error of a node that cannot start, which must be one that a retry does not repair.
pub(super) async fn refusal(config: &DriveConfig) -> String {
    match DriveBackend::connect(config).await.err() {
        Some(BackendError::Permanent(text)) => text,
        other => panic!("{other:?}"),
    }
}

async fn open() -> (Bucket, (DriveServer, TempDir)) {
    let server = DriveServer::start();
    let (store, dir) = node(&server).await;
    (suite::bucket(store), (server, dir))
}

every_behaviour!(super::drive::open);

/// The methods of the requests since the first `count`, in their order.
fn methods(server: &DriveServer, count: usize) -> Vec<String> {
    let requests = server.requests().split_off(count);
    requests.iter().map(|request| request.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_requests_of_each_operation_are_few() {
    let (bucket, (server, _dir)) = open().await;
    let mut version = None;
    for expected in [&["POST"][..], &["GET"], &["GET", "PATCH", "GET"], &["GET"], &["PATCH"]] {
        let count = server.requests().len();
        match expected {
            ["POST"] => version = Some(put(&bucket, &profile("alice"), b"{}").await),
            [_, _, _] => drop(
                bucket.replace_if(&profile("alice"), version.as_ref().unwrap(), "{ }".into()).await.unwrap().unwrap(),
            ),
            ["PATCH"] => bucket.delete(&profile("alice")).await.unwrap(),
            _ => drop(bucket.get(&profile("alice")).await.unwrap().unwrap()),
        }
        assert_eq!(methods(&server, count), expected);
    }
    let count = server.requests().len();
    assert_eq!(bucket.get(&profile("bob")).await.unwrap(), None);
    assert_eq!(bucket.list(&Folder::Images(user("alice"))).await.unwrap(), Vec::<String>::new());
    assert_eq!(methods(&server, count), ["GET", "GET"], "a miss and a listing");
}

#[tokio::test]
async fn objects_are_files_named_by_their_paths() {
    let (bucket, (server, _dir)) = open().await;
    put(&bucket, &profile("mona Zoë"), b"{}").await;
    put(&bucket, &Key::Image(user("mona Zoë"), image(1)), b"png").await;
    let expected = [
        ".rollcall-slots-1.json".to_owned(),
        format!("users/mona Zoë/images/{}", image(1)),
        "users/mona Zoë/profile.json".to_owned(),
    ];
    assert_eq!(server.names(), expected);
}

#[tokio::test]
async fn another_node_sees_every_write_at_once() {
    let server = DriveServer::start();
    let ((first, _first_dir), (second, _second_dir)) = (node(&server).await, node(&server).await);
    let (first, second) = (suite::bucket(first), suite::bucket(second));
    let version = put(&first, &profile("alice"), b"1").await;
    assert_eq!(second.get(&profile("alice")).await.unwrap().unwrap().bytes, "1");
    first.replace_if(&profile("alice"), &version, "2".into()).await.unwrap().expect("current");
    assert_eq!(second.get(&profile("alice")).await.unwrap().unwrap().bytes, "2");
    assert_eq!(second.replace_if(&profile("alice"), &version, "3".into()).await.unwrap(), None);
    second.delete(&profile("alice")).await.unwrap();
    assert_eq!(first.get(&profile("alice")).await.unwrap(), None);
    put(&first, &profile("alice"), b"4").await;
    assert_eq!(second.get(&profile("alice")).await.unwrap().unwrap().bytes, "4");
    assert_eq!(second.list(&Folder::Users).await.unwrap(), ["alice"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_creates_of_several_nodes_exactly_one_succeeds() {
    let server = DriveServer::start();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(&server).await);
    }
    for round in 0..10 {
        let mut creates = JoinSet::new();
        for n in 0..20 {
            let (bucket, key) = (suite::bucket(nodes[n % 4].0.clone()), profile(&format!("user{round}")));
            creates.spawn(async move { bucket.create(&key, format!("writer {n}").into()).await.unwrap() });
        }
        let outcomes = creates.join_all().await;
        let winners = outcomes.iter().filter(|outcome| matches!(outcome, CreateOutcome::Created(_))).count();
        assert_eq!(winners, 1);
        assert_eq!(server.contents(&format!("users/user{round}/profile.json")).len(), 1);
    }
}

#[tokio::test]
async fn an_object_in_the_trash_keeps_its_name_taken_and_affects_that_object_alone() {
    let (bucket, (server, _dir)) = open().await;
    put(&bucket, &profile("alice"), b"1").await;
    put(&bucket, &profile("bob"), b"1").await;
    server.trash("users/alice/profile.json");
    let (second, _second_dir) = node(&server).await;
    for error in [
        second.create(&profile("alice"), "2".into()).await.err(),
        second.replace_if(&profile("alice"), &rollcall::storage::ObjectVersion("r".into()), "2".into()).await.err(),
    ] {
        assert!(matches!(&error, Some(BackendError::Unreadable(text)) if text.contains("restore it")), "{error:?}");
    }
    assert_eq!(suite::bucket(second).list(&Folder::Users).await.unwrap(), ["alice", "bob"]);
    assert_eq!(bucket.get(&profile("bob")).await.unwrap().unwrap().bytes, "1");
}

/// Its slot looks free to a read, and is not: another slot for the name could give it two owners.
#[tokio::test]
async fn a_name_whose_file_was_deleted_for_good_is_never_given_a_second_file() {
    let (bucket, (server, _dir)) = open().await;
    put(&bucket, &profile("alice"), b"1").await;
    server.purge("users/alice/profile.json");
    let (second, _second_dir) = node(&server).await;
    let error = second.create(&profile("alice"), "2".into()).await.expect_err("its id is used");
    assert!(matches!(&error, BackendError::Unreadable(text) if text.contains("empty the trash")), "{error}");
    assert_eq!(server.contents("users/alice/profile.json").len(), 0);
}

#[tokio::test]
async fn a_renamed_file_and_a_copy_change_nothing_for_the_names() {
    let (bucket, (server, _dir)) = open().await;
    put(&bucket, &profile("alice"), b"1").await;
    server.rename("users/alice/profile.json", "profile (2).json");
    server.put("users/bob/profile.json", "a file that a person made");
    let (second, _second_dir) = node(&server).await;
    let second = suite::bucket(second);
    assert!(matches!(second.create(&profile("alice"), "2".into()).await.unwrap(), CreateOutcome::AlreadyExists(_)));
    assert_eq!(second.get(&profile("bob")).await.unwrap(), None);
    assert_eq!(second.list(&Folder::Users).await.unwrap(), Vec::<String>::new());
    put(&second, &profile("bob"), b"ours").await;
    assert_eq!(second.get(&profile("bob")).await.unwrap().unwrap().bytes, "ours");
}

/// A drive says "not found" for every file that the account may not see.
#[tokio::test]
async fn lost_access_is_no_empty_bucket() {
    let server = DriveServer::start();
    let (store, _dir) = node(&server).await;
    store.create(&profile("alice"), "1".into()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    server.set_folder(FolderState::Missing);
    let error = store.get(&profile("bob")).await.expect_err("the folder is gone");
    assert!(matches!(&error, BackendError::Permanent(text) if text.contains("Content manager")), "{error}");
    server.set_folder(FolderState::Writable);
    assert_eq!(store.get(&profile("bob")).await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_ends_the_start_with_its_remedy() {
    let server = DriveServer::start();
    let dir = tempfile::tempdir().unwrap();
    for (folder, remedy) in [
        (FolderState::Missing, "correct REGISTERED_USERS_FOLDER_ID"),
        (FolderState::File, "is a file"),
        (FolderState::Trashed, "restore it"),
        (FolderState::OnAnotherDrive, "set SHARED_DRIVE_ID to that"),
        (FolderState::OnNoSharedDrive, "move the folder to the shared drive"),
        (FolderState::ReadOnly, "Content manager"),
    ] {
        server.set_folder(folder);
        let text = refusal(&config(&server.url(), &dir)).await;
        assert!(text.contains(remedy) && text.contains(FOLDER), "{folder:?}: {text}");
    }
    assert_eq!(server.names(), Vec::<String>::new());
    let mut wrong = config(&server.url(), &dir);
    (wrong.endpoint, wrong.credentials) = (None, dir.path().join("key.json"));
    assert!(refusal(&wrong).await.contains("GOOGLE_CREDENTIALS"));
}

#[tokio::test]
async fn a_listing_needs_every_parameter_of_shared_drives() {
    let (bucket, (server, _dir)) = open().await;
    put(&bucket, &profile("alice"), b"1").await;
    bucket.list(&Folder::Users).await.unwrap();
    for request in server.requests() {
        let is_about_files = !request.contains("generateIds");
        assert!(!is_about_files || request.contains("supportsAllDrives=true"), "{request}");
        if request.starts_with("GET /drive/v3/files?") {
            for parameter in
                ["corpora=drive", &format!("driveId={DRIVE}"), "includeItemsFromAllDrives=true", "pageSize=3"]
            {
                assert!(request.contains(parameter), "{request}");
            }
        }
    }
}

#[tokio::test]
async fn requests_over_the_quota_are_ridden_out() {
    let (_, (server, dir)) = open().await;
    let mut config = config(&server.url(), &dir);
    config.page_size = DriveConfig::MAX_PAGE_SIZE;
    let store = Arc::new(DriveBackend::connect(&config).await.unwrap());
    server.limit_requests(20);
    let bucket = Bucket::new(store, RetryPolicy::with_deadline(Duration::from_mins(1)));
    let mut creates = JoinSet::new();
    for n in 0..60 {
        let (bucket, key) = (bucket.clone(), profile(&format!("user{n}")));
        creates.spawn(async move { bucket.create(&key, format!("{n}").into()).await.unwrap() });
    }
    assert!(creates.join_all().await.iter().all(|outcome| matches!(outcome, CreateOutcome::Created(_))));
    assert!(server.refused() > 0);
    let (_, _other_dir) = node(&server).await;
    assert_eq!(bucket.list(&Folder::Users).await.unwrap().len(), 60);
}

/// The properties of Drive that the tests rely on.
#[tokio::test]
async fn the_stand_in_is_as_strict_as_the_documents_of_drive() {
    let server = DriveServer::start();
    let client = crate::cluster::http_client();
    let files = format!("{}/drive/v3/files", server.url());
    server.put("twice", "1");
    server.put("twice", "2");
    let all = format!("{files}?supportsAllDrives=true&includeItemsFromAllDrives=true&corpora=drive&driveId={DRIVE}");
    let count = async |search: &str| {
        let body: serde_json::Value =
            client.get(format!("{all}&q={search}")).send().await.unwrap().json().await.unwrap();
        body["files"].as_array().map(Vec::len)
    };
    assert_eq!(count(&format!("'{FOLDER}' in parents")).await, Some(2), "names are not unique");
    assert_eq!(count("name = 'twice'").await, Some(0), "lists by name are stale");
    assert_eq!(count("fullText contains 'x'").await, None, "an unknown search is refused");
    for missing in
        ["supportsAllDrives=true&", "includeItemsFromAllDrives=true&", "corpora=drive&", &format!("&driveId={DRIVE}")]
    {
        let url = format!("{}&q='{FOLDER}' in parents", all.replace(missing, ""));
        let status = client.get(&url).send().await.unwrap().status().as_u16();
        assert!(matches!(status, 400 | 403), "without {missing}: {status}");
    }
    let status = client.get(format!("{files}/{FOLDER}")).send().await.unwrap().status();
    assert_eq!(status, 404, "a file of a shared drive without supportsAllDrives");
    for _ in 0..102 {
        server.put("x", "");
    }
    assert_eq!(count(&format!("'{FOLDER}' in parents&pageSize=1000")).await, Some(100));
}

/// A profile as programs of requirement 001 write it.
fn legacy(name: &str, addr: &str) -> (String, String) {
    let id = uuid::Uuid::from_u128(u128::from(name.len() as u64) << 32 | addr.len() as u128);
    let json = serde_json::json!({ "id": id, "username": name, "addr": addr, "registered_at": "2025-12-06T18:19:25Z" });
    (format!("user-{id}.json"), json.to_string())
}

#[tokio::test]
async fn profiles_of_programs_of_requirement_001_are_read_and_their_names_are_taken() {
    let server = DriveServer::start();
    let profiles = [legacy("alice", "10.0.0.1:9000"), legacy("al", "10.0.0.2:9000")];
    for (name, json) in &profiles {
        server.put(name, json.clone());
    }
    // Of several files with one name the oldest counts. The server gives four files each the same
    // time of creation, so four others come between.
    for _ in 0..4 {
        server.put("notes.txt", "nothing");
    }
    // A second registration of a name, which those programs do not prevent, and broken files.
    server.put(&legacy("alice", "10.0.0.99:9000").0, legacy("alice", "10.0.0.99:9000").1);
    server.put(&format!("user-{}.json", uuid::Uuid::nil()), "no profile");
    let (store, _dir) = node(&server).await;
    let bucket = suite::bucket(store);
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["al", "alice"]);
    let found = bucket.get(&profile("alice")).await.unwrap().expect("it is there");
    assert_eq!(found.bytes, profiles[0].1.clone());
    let CreateOutcome::AlreadyExists(taken) = bucket.create(&profile("alice"), "mine".into()).await.unwrap() else {
        panic!("the name was given twice")
    };
    assert_eq!(taken, found);

    let version = bucket.replace_if(&profile("alice"), &found.version, "new".into()).await.unwrap().expect("current");
    assert_eq!(bucket.replace_if(&profile("alice"), &found.version, "stale".into()).await.unwrap(), None);
    let read = bucket.get(&profile("alice")).await.unwrap().unwrap();
    assert_eq!((read.bytes, read.version), (Bytes::from_static(b"new"), version));
    assert!(
        server.contents(&profiles[0].0).contains(&Bytes::from_static(b"new")),
        "the file of that program is replaced"
    );
}

#[tokio::test]
async fn a_profile_that_a_program_of_requirement_001_adds_later_is_found_by_the_next_listing() {
    let (bucket, (server, _dir)) = open().await;
    let (name, json) = legacy("alice", "10.0.0.1:9000");
    server.put(&name, json.clone());
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["alice"]);
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().unwrap().bytes, json);
    assert!(matches!(bucket.create(&profile("alice"), "mine".into()).await.unwrap(), CreateOutcome::AlreadyExists(_)));
}

/// The name is known from the listing of the start, and from its last page.
#[tokio::test]
async fn names_of_requirement_001_are_taken_when_a_node_has_started() {
    let server = DriveServer::start();
    for _ in 0..4 {
        server.put("notes.txt", "nothing");
    }
    let (name, json) = legacy("alice", "10.0.0.1:9000");
    server.put(&name, json);
    let (store, _dir) = node(&server).await;
    let error = store.create(&profile("alice"), "mine".into()).await.expect_err("the name is taken");
    assert!(matches!(error, BackendError::Precondition), "{error}");
    assert_eq!(server.contents("users/alice/profile.json").len(), 0);
}
