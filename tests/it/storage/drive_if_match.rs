//! The store on a drive that honours `If-Match`, as a check of the storage has found: the suite,
//! and what is safe among all processes then.

use std::sync::Arc;

use bytes::Bytes;
use rollcall::storage::{Backend, BackendError, Bucket, DriveBackend, Key};
use rollcall_test_support::drive_server::DriveServer;
use rollcall_test_support::fault_proxy::{Fault, FaultProxy, Rule};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::drive::{config, node};
use super::suite::{self, every_behaviour, profile, put};

/// A server whose folder a check has found to honour `If-Match`.
async fn checked_server() -> DriveServer {
    let server = DriveServer::start();
    let (store, _dir) = node(&server).await;
    store.probe().expect("a drive has open questions").find_facts(&Key::Check(0)).await.expect("it works");
    server
}

async fn open() -> (Bucket, (DriveServer, TempDir)) {
    let server = checked_server().await;
    let (store, dir) = node(&server).await;
    (suite::bucket(store), (server, dir))
}

every_behaviour!(super::drive_if_match::open);

#[tokio::test]
async fn a_replacement_reads_the_etag_and_then_the_file_and_writes_with_the_etag() {
    let (bucket, (server, _dir)) = open().await;
    let version = put(&bucket, &profile("alice"), b"1").await;
    let count = server.recorded().len();
    bucket.replace_if(&profile("alice"), &version, "2".into()).await.unwrap().expect("current");
    let requests = server.recorded().split_off(count);
    let paths = ["/drive/v2/files/", "/drive/v3/files/", "/upload/drive/v2/files/"];
    assert!(requests.len() == 3 && requests.iter().zip(paths).all(|(request, path)| request.path.starts_with(path)));
    assert!(requests[2].if_match.as_ref().is_some_and(|etag| etag.len() > 2), "{requests:?}");
    // A read that follows needs no description of the file.
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().unwrap().bytes, "2");
    assert_eq!(server.recorded().len(), count + 4);
}

/// By reading back, two of them can succeed: one reads before another writes, and writes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_replacements_of_several_nodes_exactly_one_succeeds() {
    let server = checked_server().await;
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(&server).await);
    }
    let mut version = nodes[0].0.create(&profile("alice"), "0".into()).await.unwrap();
    for round in 0..20 {
        let mut writes = JoinSet::new();
        for (n, (store, _)) in nodes.iter().enumerate() {
            let (store, version) = (Arc::clone(store), version.clone());
            let bytes = Bytes::from(format!("round {round}, node {n}"));
            writes.spawn(async move { (bytes.clone(), store.replace_if(&profile("alice"), &version, bytes).await) });
        }
        let mut winners = Vec::new();
        for write in writes.join_all().await {
            match write {
                (bytes, Ok(version)) => winners.push((bytes, version)),
                (_, Err(BackendError::Precondition)) => {}
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let found = nodes[0].0.get(&profile("alice")).await.unwrap().unwrap();
        assert_eq!((&found.bytes, &found.version), (&winners[0].0, &winners[0].1));
        version = found.version;
    }
}

/// A change of the file between the reading of its etag and the write, as another process makes it.
#[tokio::test]
async fn a_write_that_the_drive_refuses_is_a_conflict_and_writes_nothing() {
    let (bucket, (server, _dir)) = open().await;
    let version = put(&bucket, &profile("alice"), b"1").await;
    server.set_if_match(rollcall_test_support::drive_server::IfMatch::Refused);
    let (store, _other_dir) = node(&server).await;
    let refused = store.replace_if(&profile("alice"), &version, "2".into()).await;
    assert!(matches!(refused, Err(BackendError::Precondition)), "{refused:?}");
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().unwrap().bytes, "1");
}

#[tokio::test]
async fn a_replacement_of_a_file_that_was_deleted_for_good_says_so() {
    let server = checked_server().await;
    let (store, _dir) = node(&server).await;
    let version = store.create(&profile("alice"), "1".into()).await.unwrap();
    server.purge("users/alice/profile.json");
    let error = store.replace_if(&profile("alice"), &version, "2".into()).await.expect_err("it is gone");
    assert!(matches!(&error, BackendError::Unreadable(text) if text.contains("empty the trash")), "{error}");
}

#[tokio::test]
async fn a_write_whose_response_is_lost_takes_effect_once() {
    for fault in [Fault::CutResponse, Fault::Truncate, Fault::Cut] {
        for method in ["GET", "PUT"] {
            let server = checked_server().await;
            let (bucket, proxy, _dir) = behind_proxy(&server).await;
            let version = put(&bucket, &profile("alice"), b"1").await;
            proxy.inject(Rule::once(fault.clone()).method(method));
            let replaced = bucket.replace_if(&profile("alice"), &version, "2".into()).await.unwrap();
            let found = bucket.get(&profile("alice")).await.unwrap().unwrap();
            assert_eq!((found.bytes, Some(found.version)), (Bytes::from_static(b"2"), replaced), "{method} {fault:?}");
        }
    }
}

/// Damaged bytes have a version of their own, so they must not be left to a later attempt: it would
/// take them for the write of another process.
#[tokio::test]
async fn a_replacement_that_was_damaged_on_its_way_is_repaired() {
    // The byte before the end of the body. By reading back, a boundary of 45 bytes comes after it.
    for (server, method, from_end) in [(checked_server().await, "PUT", 1), (DriveServer::start(), "PATCH", 52)] {
        let (bucket, proxy, _dir) = behind_proxy(&server).await;
        let version = put(&bucket, &profile("alice"), b"the first text").await;
        proxy.inject(Rule::once(Fault::CorruptUpload(from_end)).method(method));
        let replaced = bucket.replace_if(&profile("alice"), &version, "the second text".into()).await.unwrap();
        assert!(replaced.is_some(), "{method}");
        assert_eq!(server.contents("users/alice/profile.json"), [Bytes::from_static(b"the second text")], "{method}");
    }
}

async fn behind_proxy(server: &DriveServer) -> (Bucket, FaultProxy, TempDir) {
    let (proxy, dir) = (FaultProxy::start(&server.url()), tempfile::tempdir().unwrap());
    let store = DriveBackend::connect(&config(&proxy.url(), &dir)).await.expect("the folder can be used");
    (suite::bucket(Arc::new(store)), proxy, dir)
}
