use futures_util::TryStreamExt;
use image::ImageFormat;
use tokio::time::Instant;

use super::*;
use crate::registry::testing::{caller, encoded_image, name, registry, registry_in, user};
use crate::registry::users::profile_store::MAX_CONCURRENT_READS;
use crate::registry::{Credentials, Registry};
use crate::storage::{Backend, Fault, Key};
use rollcall_core::api::DiscoveredWithImages;

async fn online(usernames: &[&str]) -> (Registry, crate::storage::MemoryBackend) {
    let (registry, memory) = registry();
    for username in usernames {
        registry.register(user(username), caller(BootMs(0))).await.unwrap();
        registry.heartbeat(&name(username), None, Credentials::None, caller(BootMs(0))).await.unwrap();
    }
    (registry, memory)
}

fn block() -> AddressBlock {
    AddressBlock::of(caller(BootMs(0)).from)
}

async fn read(registry: &Registry) -> Result<DiscoveredWithImages, ReadError> {
    let chunks: Vec<Bytes> = registry
        .online_with_images(&Page::default(), BootMs(0), block(), CancellationToken::new())
        .await?
        .try_collect()
        .await?;
    Ok(serde_json::from_slice(&chunks.concat()).unwrap())
}

#[tokio::test]
async fn the_stream_has_sorted_clients_with_their_images_and_is_valid_json() {
    let (registry, _) = online(&["bob", "alice", "carol"]).await;
    let bytes = encoded_image(ImageFormat::Png, 3, 3);
    let image = registry.upload(&name("bob"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
    registry.upload(&name("carol"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
    let read = read(&registry).await.unwrap();
    assert_eq!(read.count, 3);
    let names: Vec<&str> = read.online_clients.iter().map(|client| client.username.as_str()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    let counts: Vec<usize> = read.online_clients.iter().map(|client| client.images.len()).collect();
    assert_eq!(counts, [0, 1, 1]);
    let inline = &read.online_clients[1].images[0];
    assert_eq!((inline.filename.as_str(), STANDARD.decode(&inline.data).unwrap()), (image.as_str(), bytes.to_vec()));
}

#[tokio::test]
async fn an_image_deleted_between_the_listing_and_the_read_is_skipped() {
    let (registry, memory) = online(&["alice"]).await;
    let mut images = Vec::new();
    for side in 1..=3 {
        let bytes = encoded_image(ImageFormat::Png, side, 1);
        images.push(registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await.unwrap());
    }
    let client = OnlineRow { username: name("alice"), addr: None };
    let reader = || StreamReader { block: block(), connection: CancellationToken::new(), now: BootMs(0) };
    let items = items(Arc::clone(&registry.0.images.store), client, reader()).await.unwrap();
    memory.delete(&Key::Image(name("alice"), images[0].clone())).await.unwrap();
    let mut writer = JsonWriter::default();
    let mut text = String::new();
    for item in items {
        let chunk = writer.write(fetch(Arc::clone(&registry.0.images.store), Ok(item), reader()).await.unwrap());
        text += std::str::from_utf8(&chunk.text).unwrap();
    }
    let client: rollcall_core::api::ClientWithImages = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = client.images.iter().map(|image| image.filename.as_str()).collect();
    assert_eq!(names, [images[1].as_str(), images[2].as_str()]);
}

#[tokio::test]
async fn the_first_client_is_fetched_before_the_response_begins_and_the_last_is_not() {
    let (registry, memory) = online(&["alice", "bob"]).await;
    memory.faults().set_outage(Some(Fault::Transient));
    assert!(registry.online_with_images(&Page::default(), BootMs(0), block(), CancellationToken::new()).await.is_err());
    memory.faults().inject(1, &Fault::None);
    let stream =
        registry.online_with_images(&Page::default(), BootMs(0), block(), CancellationToken::new()).await.unwrap();
    assert!(stream.try_collect::<Vec<Bytes>>().await.is_err());
}

#[tokio::test]
async fn a_long_list_is_not_read_far_ahead_of_the_client() {
    let usernames: Vec<String> = (10..60).map(|n| format!("u{n}")).collect();
    let (registry, memory) = online(&usernames.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = memory.faults().calls();
    let stream =
        registry.online_with_images(&Page::default(), BootMs(0), block(), CancellationToken::new()).await.unwrap();
    let ahead = memory.faults().calls() - before;
    assert!(ahead <= ITEMS_AHEAD + LISTS_AHEAD + 1, "{ahead} calls for the first client");
    assert_eq!(registry.0.images.stream.downloads.free(), MAX_CONCURRENT_DOWNLOADS - 1);
    drop(stream);
    assert_eq!(registry.0.images.stream.downloads.free(), MAX_CONCURRENT_DOWNLOADS);
}

#[tokio::test]
async fn other_tasks_run_before_the_turn_of_a_stream_ends() {
    let (registry, _) = online(&["alice"]).await;
    for side in 1..=2 {
        let bytes = encoded_image(ImageFormat::Png, side, 1);
        registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await.unwrap();
    }
    let ImagesStream { images, clients, turns, .. } = &registry.0.images.stream;
    let online = clients.online(&Page::default(), BootMs(0));
    let reader = StreamReader { block: block(), connection: CancellationToken::new(), now: BootMs(0) };
    let mut chunks = Box::pin(chunks(images, online, reader, turns.clone()));
    let mut turns_taken = 0;
    loop {
        match futures_util::poll!(chunks.next()) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(chunk)) => {
                assert!(chunk.is_ok());
                assert_eq!(turns.0.free(), MAX_ENCODING, "a slow reader has no turn");
            }
            Poll::Pending => {
                turns_taken += MAX_ENCODING - turns.0.free();
                yield_now().await;
            }
        }
    }
    assert_eq!(turns_taken, 2, "once for each image");
}

#[tokio::test(start_paused = true)]
async fn a_download_that_waits_ends_at_once_when_its_connection_is_displaced() {
    let (registry, _) = online(&["alice"]).await;
    let bytes = encoded_image(ImageFormat::Png, 1, 1);
    registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await.unwrap();
    let ImagesStream { downloads, turns: EncodingTurns(turns), .. } = &registry.0.images.stream;
    for (pool, units) in [(downloads, MAX_CONCURRENT_DOWNLOADS), (turns, MAX_ENCODING)] {
        let _held = pool.acquire(Claim::fixed(block()).units(units), MAX_WAIT).await.unwrap();
        let (page, connection, started) = (Page::default(), CancellationToken::new(), Instant::now());
        let waiting = registry.online_with_images(&page, BootMs(0), block(), connection.clone());
        let displace = async {
            // Until then, the download has done what it can.
            tokio::time::sleep(Duration::from_millis(1)).await;
            connection.cancel();
        };
        let (ended, ()) = tokio::join!(waiting, displace);
        assert!(matches!(ended, Err(ReadError::Overloaded(_))));
        assert_eq!(started.elapsed(), Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_download_that_is_not_read_give_their_places_back() {
    let usernames: Vec<String> = (10..60).map(|n| format!("u{n}")).collect();
    let (registry, memory) = online(&usernames.iter().map(String::as_str).collect::<Vec<_>>()).await;
    memory.faults().set_outage(Some(Fault::Delay(Duration::from_millis(100))));
    let mut unread = Vec::new();
    for _ in 0..MAX_CONCURRENT_DOWNLOADS {
        let connection = CancellationToken::new();
        unread.push(registry.online_with_images(&Page::default(), BootMs(0), block(), connection).await.unwrap());
    }
    let other = crate::registry::Caller { from: [10, 0, 0, 10].into(), ..caller(BootMs(0)) };
    for n in 0..10 {
        let started = Instant::now();
        assert!(registry.images(&name(&format!("nobody-{n}")), other).await.is_err());
        assert!(started.elapsed() <= Duration::from_millis(200), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn downloads_that_wait_for_a_slow_store_are_not_cut_off() {
    let (registry, memory) = online(&["alice"]).await;
    let bytes = Bytes::from_static(b"not checked here");
    for n in 0..MAX_IMAGES_PER_CLIENT {
        let image = ImageName::parse(&format!("17335112{n:02}-a1b2c3d4.png")).unwrap();
        memory.create(&Key::Image(name("alice"), image), bytes.clone()).await.unwrap();
    }
    // Reads of the same address take all turns for longer than a request would wait.
    memory.faults().set_outage(Some(Fault::Delay(Duration::from_millis(1900))));
    let mut others = JoinSet::new();
    for n in 0..2 * MAX_CONCURRENT_READS {
        let registry = registry.clone();
        others.spawn(async move { registry.images(&name(&format!("nobody-{n}")), caller(BootMs(0))).await.is_err() });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let started = Instant::now();
    assert_eq!(read(&registry).await.unwrap().online_clients[0].images.len(), MAX_IMAGES_PER_CLIENT);
    assert!(started.elapsed() > Duration::from_secs(3), "it waited for the others: {:?}", started.elapsed());
}

#[tokio::test]
async fn unreadable_images_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry_in(dir.path());
    for username in ["alice", "bob", "carol"] {
        registry.register(user(username), caller(BootMs(0))).await.unwrap();
        registry.heartbeat(&name(username), None, Credentials::None, caller(BootMs(0))).await.unwrap();
    }
    let bytes = encoded_image(ImageFormat::Png, 3, 3);
    let readable = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
    let broken = ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
    let path = dir.path().join(Key::Image(name("alice"), broken).path());
    std::fs::write(path, vec![0; crate::storage::MAX_OBJECT_BYTES + 1]).unwrap();
    std::fs::write(dir.path().join("users/bob/images"), "a file in place of a folder").unwrap();
    let read = read(&registry).await.unwrap();
    let images = |client: usize| read.online_clients[client].images.iter().map(|image| image.filename.as_str());
    assert_eq!(images(0).collect::<Vec<_>>(), [readable.as_str()]);
    assert_eq!((read.count, images(1).count(), images(2).count()), (3, 0, 0));
}
