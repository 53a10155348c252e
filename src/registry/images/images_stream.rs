//! Stream of all online clients with their newest images, encoded as JSON piece by piece.
//!
//! The stream consists of items: a client, an image, the end of a client. At most [`ITEMS_AHEAD`]
//! items are fetched ahead of the reader, so memory is bounded.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::image_store::ImageStore;
use crate::fair_pool::{Claim, FairPool};
use crate::presence::OnlineRow;
use crate::registry::error::{ImagesStreamError, StorageUnavailable};
use crate::registry::online::online_clients::OnlineClients;
use rollcall_core::api::OnlineClient;
use rollcall_core::{AddressBlock, BootMs, ImageName, Page, Username};

/// Maximum number of images per client.
const MAX_IMAGES_PER_CLIENT: usize = 20;

/// Number of clients whose images are listed ahead.
const LISTS_AHEAD: usize = 4;

/// Number of items fetched ahead. An item is at most one image: of up to 512 KiB, or of up to 4 MiB
/// if another program has stored it in the bucket.
const ITEMS_AHEAD: usize = 8;

/// Maximum number of concurrent downloads; others wait for up to [`MAX_WAIT`]. With the limits
/// above, downloads take at most about 300 MiB, and a tenth of that with typical images. Images of
/// other programs may take more.
const MAX_CONCURRENT_DOWNLOADS: usize = 64;

/// Maximum number of downloads that wait for a permit.
const MAX_WAITING: usize = 256;

/// Longest wait of a download for a permit.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Size in bytes after which the response begins, even if the first client is not complete. Until
/// the response begins, an error still becomes a 503.
const MAX_FIRST_BYTES: usize = 1024 * 1024;

/// An item of the stream, without its content.
enum StreamItem {
    Client(OnlineRow),
    Image(Username, ImageName),
    EndOfClient,
}

/// An item with its content.
enum FetchedItem {
    Client(OnlineRow),
    Image(ImageName, Bytes),
    /// An image that is unreadable or was deleted after the listing.
    Missing,
    EndOfClient,
}

/// JSON text, and whether it ends a client.
struct JsonChunk {
    text: Bytes,
    ends_client: bool,
}

/// Streams online clients with their images.
pub(crate) struct ImagesStream {
    images: Arc<ImageStore>,
    clients: Arc<OnlineClients>,
    downloads: FairPool,
}

impl ImagesStream {
    /// A stream of `clients` with images from `images`.
    pub(crate) fn new(images: Arc<ImageStore>, clients: Arc<OnlineClients>) -> Self {
        Self { images, clients, downloads: FairPool::new(MAX_CONCURRENT_DOWNLOADS, MAX_WAITING) }
    }

    /// Streams the clients on `page` that are online at `now`, each with its newest 20 images,
    /// oldest first. The format is
    /// `{"online_clients":[{"username","addr","images":[{"filename","data"}]}],"count"}`.
    ///
    /// On an error inside the stream, the caller must abort the response, so that no client takes a
    /// partial list for a complete one. The stream holds a download permit until it is dropped, so
    /// the caller must disconnect a slow reader after a bounded time. It must also drop the stream
    /// when `displaced` is cancelled: then another client needs the permit.
    pub(crate) async fn open(
        &self,
        page: &Page,
        now: BootMs,
        client: AddressBlock,
        displaced: CancellationToken,
    ) -> Result<impl Stream<Item = Result<Bytes, StorageUnavailable>> + Send + use<>, ImagesStreamError> {
        let progress = self.downloads.new_progress();
        progress.set_working();
        let claim = Claim::displaceable(client, progress.clone(), displaced);
        let permit = self.downloads.acquire(claim, MAX_WAIT).await.map_err(|_| ImagesStreamError::Busy)?;
        let mut chunks = Box::pin(chunks(&self.images, self.clients.online(page, now), now));
        let (mut first, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_FIRST_BYTES
            && let Some(chunk) = chunks.next().await
        {
            let JsonChunk { text, ends_client } = chunk?;
            bytes += text.len();
            first.push(Ok(text));
            if ends_client {
                break;
            }
        }
        Ok(stream::iter(first).chain(chunks.map(move |chunk| {
            // Released when the stream is dropped.
            let _running = &permit;
            // The client must read this chunk before it asks for the next one.
            progress.set_waiting();
            chunk.map(|chunk| chunk.text)
        })))
    }
}

/// The JSON text of the whole list, in chunks.
fn chunks(
    images: &Arc<ImageStore>,
    clients: Vec<OnlineRow>,
    now: BootMs,
) -> impl Stream<Item = Result<JsonChunk, StorageUnavailable>> + Send + use<> {
    let end = format!("],\"count\":{}}}", clients.len());
    let (lister, fetcher) = (Arc::clone(images), Arc::clone(images));
    let mut writer = JsonWriter::default();
    let clients = stream::iter(clients)
        .map(move |client| items(Arc::clone(&lister), client, now))
        .buffered(LISTS_AHEAD)
        .flat_map(|items| match items {
            Ok(items) => stream::iter(items.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(unavailable) => stream::iter(vec![Err(unavailable)]),
        })
        .map(move |item| fetch(Arc::clone(&fetcher), item, now))
        .buffered(ITEMS_AHEAD)
        .map(move |fetched| fetched.map(|fetched| writer.write(fetched)));
    let framing = |text: String| stream::iter([Ok(JsonChunk { text: text.into(), ends_client: false })]);
    framing("{\"online_clients\":[".to_owned()).chain(clients).chain(framing(end))
}

/// The items of one client. Lists the names of its images, but reads no image.
async fn items(images: Arc<ImageStore>, client: OnlineRow, now: BootMs) -> Result<Vec<StreamItem>, StorageUnavailable> {
    let mut names = images.image_names(&client.username, now).await?;
    let newest = names.split_off(names.len().saturating_sub(MAX_IMAGES_PER_CLIENT));
    let user = client.username.clone();
    let newest = newest.into_iter().map(|image| StreamItem::Image(user.clone(), image));
    Ok(std::iter::once(StreamItem::Client(client)).chain(newest).chain([StreamItem::EndOfClient]).collect())
}

/// Fetches the content of an item: reads its image, if it has one.
async fn fetch(
    images: Arc<ImageStore>,
    item: Result<StreamItem, StorageUnavailable>,
    now: BootMs,
) -> Result<FetchedItem, StorageUnavailable> {
    Ok(match item? {
        StreamItem::Client(client) => FetchedItem::Client(client),
        StreamItem::EndOfClient => FetchedItem::EndOfClient,
        StreamItem::Image(user, image) => match images.read_image(&user, &image, now).await {
            Ok(Some(bytes)) => FetchedItem::Image(image, bytes),
            Ok(None) => {
                debug!(%user, %image, "skipped an image: deleted after the listing");
                FetchedItem::Missing
            }
            Err(error) if error.concerns_one_object() => log_and_skip(&images, &user, &error, FetchedItem::Missing),
            Err(error) => return Err(error),
        },
    })
}

/// Logs an unreadable object and returns `instead`, so that the other images are still sent.
fn log_and_skip<T>(images: &ImageStore, user: &Username, error: &StorageUnavailable, instead: T) -> T {
    images.report_unreadable(user, &error.cause());
    instead
}

/// Writes items as JSON, with the commas between them.
#[derive(Default)]
struct JsonWriter {
    has_client: bool,
    has_image: bool,
}

impl JsonWriter {
    fn write(&mut self, fetched: FetchedItem) -> JsonChunk {
        let ends_client = matches!(fetched, FetchedItem::EndOfClient);
        // Image names and Base64 have no character that JSON escapes. A username may have one.
        let text = match fetched {
            FetchedItem::Client(OnlineRow { username, addr }) => {
                self.has_image = false;
                let comma = comma(&mut self.has_client);
                let json = serde_json::to_string(&OnlineClient { username, addr }).expect("all keys are strings");
                let fields = json.strip_suffix('}').expect("an object");
                format!("{comma}{fields},\"images\":[")
            }
            FetchedItem::Image(image, bytes) => {
                let comma = comma(&mut self.has_image);
                let mut text = String::with_capacity(64 + bytes.len().div_ceil(3) * 4);
                text.push_str(comma);
                text.push_str("{\"filename\":\"");
                text.push_str(image.as_str());
                text.push_str("\",\"data\":\"");
                STANDARD.encode_string(&bytes, &mut text);
                text.push_str("\"}");
                text
            }
            FetchedItem::Missing => String::new(),
            FetchedItem::EndOfClient => "]}".to_owned(),
        };
        JsonChunk { text: text.into(), ends_client }
    }
}

/// The comma before an element, unless it is the first one. Sets `has_previous`.
fn comma(has_previous: &mut bool) -> &'static str {
    if std::mem::replace(has_previous, true) { "," } else { "" }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use image::ImageFormat;

    use super::*;
    use crate::registry::testing::{caller, encoded_image, name, registry, registry_in, user};
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

    async fn read(registry: &Registry) -> Result<DiscoveredWithImages, ImagesStreamError> {
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
        assert_eq!(
            (inline.filename.as_str(), STANDARD.decode(&inline.data).unwrap()),
            (image.as_str(), bytes.to_vec())
        );
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
        let items = items(Arc::clone(&registry.0.images.store), client, BootMs(0)).await.unwrap();
        memory.delete(&Key::Image(name("alice"), images[0].clone())).await.unwrap();
        let mut writer = JsonWriter::default();
        let mut text = String::new();
        for item in items {
            let chunk = writer.write(fetch(Arc::clone(&registry.0.images.store), Ok(item), BootMs(0)).await.unwrap());
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
        assert!(
            registry.online_with_images(&Page::default(), BootMs(0), block(), CancellationToken::new()).await.is_err()
        );
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
    async fn unreadable_images_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry_in(dir.path());
        for username in ["alice", "bob", "carol"] {
            registry.register(user(username), caller(BootMs(0))).await.unwrap();
            registry.heartbeat(&name(username), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        }
        let bytes = encoded_image(ImageFormat::Png, 3, 3);
        let readable =
            registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        let broken = ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
        let path = dir.path().join(Key::Image(name("alice"), broken).path());
        std::fs::write(path, vec![0; crate::storage::MAX_OBJECT_BYTES + 1]).unwrap();
        std::fs::write(dir.path().join("users/bob/images"), "a file in place of a folder").unwrap();
        let read = read(&registry).await.unwrap();
        let images = |client: usize| read.online_clients[client].images.iter().map(|image| image.filename.as_str());
        assert_eq!(images(0).collect::<Vec<_>>(), [readable.as_str()]);
        assert_eq!((read.count, images(1).count(), images(2).count()), (3, 0, 0));
    }
}
