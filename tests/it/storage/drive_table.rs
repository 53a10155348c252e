//! The slot table on Google Drive: nodes that start together, a lost table, and further blocks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use rollcall::storage::{Backend, BackendError, CreateOutcome, DriveBackend, DriveConfig, Folder, Key};
use rollcall_test_support::drive_server::{DriveRequest, DriveServer, FOLDER};
use serde_json::Value;

use crate::cluster::{SOON, until};

use super::drive::{config, node, refusal};
use super::suite::{self, profile, put};

const FIRST_BLOCK: &str = ".rollcall-slots-1.json";
const SECOND_BLOCK: &str = ".rollcall-slots-2.json";

/// The first block of another folder, as the block with this number.
async fn block_of_another_table(number: usize) -> String {
    let other = DriveServer::start();
    let (_, _dir) = node(&other).await;
    let mut block: Value = serde_json::from_slice(&other.contents(FIRST_BLOCK)[0]).expect("JSON");
    block["block"] = number.into();
    block.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_the_same_moment_on_an_empty_folder_agree_on_one_table() {
    for _ in 0..5 {
        let server = DriveServer::start();
        let nodes = join_all((0..3).map(|_| node(&server))).await;
        assert!(!server.contents(FIRST_BLOCK).is_empty());
        let calls = nodes.iter().enumerate().map(|(n, (store, _))| store.create(&Key::Cluster, format!("{n}").into()));
        let created = join_all(calls).await;
        assert_eq!(created.iter().filter(|result| result.is_ok()).count(), 1, "{created:?}");
        assert!(created.iter().all(|result| matches!(result, Ok(_) | Err(BackendError::Precondition))), "{created:?}");
        // A node that comes later uses the same table without a wait.
        let (late, _dir) = node(&server).await;
        assert!(late.get(&Key::Cluster).await.unwrap().is_some());
    }
}

/// The oldest block counts, so it must be listed before a node decides.
#[tokio::test]
async fn a_block_that_is_listed_late_is_found_before_a_node_decides() {
    let older = block_of_another_table(1).await;
    let server = DriveServer::start();
    server.put_block(FIRST_BLOCK, older.clone());
    server.set_listed(FIRST_BLOCK, false);
    // The server gives four files each the same time of creation.
    for _ in 0..4 {
        server.put("notes.txt", "nothing");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = DriveConfig { settle_time: DriveConfig::SETTLE_TIME, ..config(&server.url(), &dir) };
    let late = async {
        until("a listing after the node's own block", async || {
            let is_listing = server.requests().last().is_some_and(|last| last.starts_with("GET /drive/v3/files?"));
            is_listing && server.contents(FIRST_BLOCK).len() == 2
        })
        .await;
        server.set_listed(FIRST_BLOCK, true);
        tokio::time::pause();
        tokio::time::advance(DriveConfig::SETTLE_TIME).await;
        tokio::time::resume();
    };
    let (connected, ()) = tokio::join!(DriveBackend::connect(&config), late);
    connected.expect("the folder can be used");
    let kept = std::fs::read_to_string(dir.path().join(format!("drive-table-{FOLDER}"))).unwrap();
    let older: Value = serde_json::from_str(&older).unwrap();
    assert_eq!(Some(kept.trim()), older["table"].as_str());
}

#[tokio::test]
async fn a_block_is_found_on_every_page_of_the_list_of_blocks() {
    let server = DriveServer::start();
    for number in 7..=9 {
        server.put_block(&format!(".rollcall-slots-{number}.json"), "{}");
    }
    for _ in 0..2 {
        let started = tokio::time::timeout(SOON, node(&server)).await;
        assert!(started.is_ok(), "the node does not find its block");
    }
    assert_eq!(server.contents(FIRST_BLOCK).len(), 1);
}

#[tokio::test]
async fn a_node_writes_its_table_once() {
    let server = DriveServer::start();
    let (_, dir) = node(&server).await;
    let count = server.requests().len();
    // Nodes that come later do not wait: the block is marked.
    let config = DriveConfig { settle_time: Duration::from_hours(1), ..config(&server.url(), &dir) };
    tokio::time::timeout(SOON, DriveBackend::connect(&config)).await.expect("no wait").expect("the same table");
    let requests = server.requests().split_off(count);
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
    assert_eq!(server.contents(FIRST_BLOCK).len(), 1);
}

#[tokio::test]
async fn a_lost_table_ends_the_start_of_every_node() {
    let server = DriveServer::start();
    // The object is not on the first page of the folder.
    for _ in 0..3 {
        server.put("notes.txt", "nothing");
    }
    let (store, dir) = node(&server).await;
    let new_dir = tempfile::tempdir().unwrap();
    store.create(&profile("alice"), "1".into()).await.unwrap();
    let configs = [config(&server.url(), &dir), config(&server.url(), &new_dir)];

    server.trash(FIRST_BLOCK);
    for config in &configs {
        assert!(refusal(config).await.contains("in the trash"));
    }
    server.purge(FIRST_BLOCK);
    for config in &configs {
        assert!(refusal(config).await.contains("has lost its slot table"));
    }
    assert!(server.contents(FIRST_BLOCK).is_empty(), "no node has made another table");

    // The folder was emptied: a node that has used it does not start without a word either.
    server.purge("users/alice/profile.json");
    assert!(refusal(&configs[0]).await.contains("has lost its slot table"));
    DriveBackend::connect(&configs[1]).await.expect("a new node on an empty folder");
    let text = refusal(&configs[0]).await;
    assert!(text.contains("another slot table") && text.contains("drive-table-"), "{text}");
}

#[tokio::test]
async fn a_damaged_table_and_the_objects_of_another_one_are_refused() {
    let server = DriveServer::start();
    let (store, _dir) = node(&server).await;
    store.create(&profile("alice"), "1".into()).await.unwrap();
    let own = server.contents(FIRST_BLOCK)[0].clone();
    server.purge(FIRST_BLOCK);
    // A second table beside the objects of the first, as after a copy of files.
    server.put_block(FIRST_BLOCK, block_of_another_table(1).await);
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(&config(&server.url(), &dir)).await.contains("another slot table"));
    server.purge(FIRST_BLOCK);
    server.put_block(FIRST_BLOCK, Bytes::from_static(b"{}"));
    assert!(refusal(&config(&server.url(), &dir)).await.contains("damaged"));
    // The node has not kept the id of the wrong table.
    server.purge(FIRST_BLOCK);
    server.put_block(FIRST_BLOCK, own);
    DriveBackend::connect(&config(&server.url(), &dir)).await.expect("the table is restored");
    // A second block of another table.
    server.put_block(SECOND_BLOCK, block_of_another_table(2).await);
    server.set_property(SECOND_BLOCK, "chosen", "1");
    let refused = tokio::time::timeout(SOON, refusal(&config(&server.url(), &dir))).await.expect("an answer");
    assert!(refused.contains("another slot table"), "{refused}");
}

/// The leader makes further blocks. Here it dies between the write of a block and the decision.
#[tokio::test]
async fn a_block_that_its_node_left_half_made_is_used_by_the_next_one() {
    let server = DriveServer::start();
    let (_, dir) = node(&server).await;
    let with_wait =
        |settle_time| DriveConfig { settle_time, page_size: DriveConfig::MAX_PAGE_SIZE, ..config(&server.url(), &dir) };
    let marks = || {
        let is_mark = |request: &DriveRequest| {
            request.metadata.as_ref().is_some_and(|metadata| metadata["appProperties"]["chosen"] == "1")
        };
        server.recorded().iter().filter(|request| is_mark(request)).count()
    };
    let mut numbers = 0..;
    let mut next_user = || profile(&format!("user{}", numbers.next().expect("endless")));
    let dying = DriveBackend::connect(&with_wait(Duration::from_hours(1))).await.expect("the first block is marked");
    let mut created = 0;
    while server.contents(SECOND_BLOCK).is_empty() {
        // It fails if all slots of the user are taken. Then it has written the block.
        created += usize::from(dying.create(&next_user(), "{}".into()).await.is_ok());
    }
    drop(dying);
    assert_eq!(marks(), 1, "the second block is not chosen yet");
    let next = DriveBackend::connect(&with_wait(Duration::from_millis(50))).await.expect("the same table");
    let next = suite::bucket(Arc::new(next));
    until("the choice of the second block", async || {
        put(&next, &next_user(), b"{}").await;
        created += 1;
        marks() == 2
    })
    .await;
    assert_eq!(server.contents(SECOND_BLOCK).len(), 1, "no other block was made");
    let (late, _late_dir) = node(&server).await;
    assert_eq!(suite::bucket(late).list(&Folder::Users).await.unwrap().len(), created, "all users are listed");
}

#[tokio::test]
async fn a_reserved_id_that_has_expired_is_an_error_and_no_free_slot() {
    let server = DriveServer::start();
    let (store, _dir) = node(&server).await;
    server.expire_reserved_ids();
    let error = store.create(&profile("alice"), "1".into()).await.expect_err("no id is valid");
    assert!(
        matches!(&error, BackendError::Permanent(text) if text.contains("how long such an id is valid")),
        "{error}"
    );
    assert_eq!(store.get(&profile("alice")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_blocks_are_made_in_time_and_every_node_finds_the_objects_in_them() {
    const USERS: usize = 1700;
    let server = DriveServer::start();
    let ((writer, _writer_dir), (reader, _reader_dir)) = (node(&server).await, node(&server).await);
    let lister_dir = tempfile::tempdir().unwrap();
    let lister = DriveConfig { page_size: DriveConfig::MAX_PAGE_SIZE, ..config(&server.url(), &lister_dir) };
    let lister = suite::bucket(Arc::new(DriveBackend::connect(&lister).await.unwrap()));
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(node(&server).await);
    }
    let bucket = suite::bucket(writer);
    for n in 0..USERS {
        put(&bucket, &profile(&format!("user{n}")), b"{}").await;
    }
    for block in 2..=3 {
        assert_eq!(server.contents(&format!(".rollcall-slots-{block}.json")).len(), 1, "block {block}");
    }
    // These nodes have seen no object, and only the first block.
    assert_eq!(lister.list(&Folder::Users).await.unwrap().len(), USERS);
    let names: Vec<String> = (0..USERS).map(|n| format!("user{n}")).collect();
    let missing: Vec<&String> = stream::iter(&names)
        .map(|name| {
            let reader = Arc::clone(&reader);
            async move { reader.get(&profile(name)).await.unwrap().is_none().then_some(name) }
        })
        .buffer_unordered(8)
        .filter_map(async |missing| missing)
        .collect()
        .await;
    assert_eq!(missing, Vec::<&String>::new());
    // Calls that need a further block at the same moment, of which one loads it.
    for (other, _dir) in &others {
        let last = &names[USERS - 100..];
        let reads = join_all(last.iter().map(async |name| other.get(&profile(name)).await.unwrap().is_some())).await;
        assert!(reads.into_iter().all(|is_found| is_found), "a read does not see the block that another has loaded");
    }
    let reader = suite::bucket(reader);
    for name in names.iter().step_by(100) {
        assert!(matches!(reader.create(&profile(name), "2".into()).await.unwrap(), CreateOutcome::AlreadyExists(_)));
        assert_eq!(server.contents(&format!("users/{name}/profile.json")).len(), 1, "{name}");
    }
}

/// The figures of docs/design/storage.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_registration_and_of_a_start_with_2000_users() {
    const USERS: usize = 2000;
    let server = DriveServer::start();
    let dir = tempfile::tempdir().unwrap();
    let config = DriveConfig { page_size: DriveConfig::MAX_PAGE_SIZE, ..config(&server.url(), &dir) };
    let bucket = suite::bucket(Arc::new(DriveBackend::connect(&config).await.unwrap()));
    let before = server.requests().len();
    for n in 0..USERS {
        put(&bucket, &profile(&format!("user{n}")), b"{}").await;
    }
    let registrations = server.requests().len() - before;
    // Beyond one request each: those of the blocks, and slots that had an object.
    assert!(registrations < USERS + 60, "{registrations} requests for {USERS} registrations");

    let before = server.requests().len();
    let bucket = suite::bucket(Arc::new(DriveBackend::connect(&config).await.unwrap()));
    let start = server.requests().len() - before;
    // The folder, the blocks, and pages of 100 files.
    assert!(start < USERS / 100 + 15, "{start} requests for a start with {USERS} users");

    let before = server.requests().len();
    let names = bucket.list(&Folder::Users).await.unwrap();
    assert_eq!(names.len(), USERS);
    for name in &names {
        assert!(bucket.get(&profile(name)).await.unwrap().is_some());
    }
    let rebuild = server.requests().len() - before;
    assert!(rebuild < USERS + USERS / 100 + 5, "{rebuild} requests to read {USERS} profiles");
    println!("{registrations} requests for {USERS} registrations, {start} for a start, {rebuild} to read all profiles");
}
