//! Stream of all online clients with their newest images, encoded as JSON piece by piece.
//!
//! The stream consists of items: a client, an image, the end of a client. At most [`ITEMS_AHEAD`]
//! items are fetched ahead of the reader, so memory is bounded.
//!
//! A fast reader makes the node read and encode images as fast as it can. So the streams take turns
//! by address ([`EncodingTurns`]): only few of them use the processor at the same moment, however
//! many there are.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::image_store::ImageStore;
use crate::fair_pool::{Claim, Claimant, FairPool, Piece};
use crate::presence::OnlineRow;
use crate::registry::error::{Overloaded, ReadError};
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

/// Longest wait of a read of a stream for its turn. It is longer than the wait of a request,
/// because an error would cut off a response that has begun.
const MAX_READ_WAIT: Duration = Duration::from_secs(30);

/// Maximum number of streams that encode an image at the same time. Two processors are then never
/// busy with images alone for longer than one image.
const MAX_ENCODING: usize = 2;

/// Longest wait of a stream for its turn, for a slow machine. With an image of each of 64 streams
/// before it, a turn comes after some ten milliseconds.
const MAX_TURN_WAIT: Duration = Duration::from_secs(10);

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
    turns: EncodingTurns,
}

/// Turns of the streams to encode an image. Clones share one state.
#[derive(Clone)]
struct EncodingTurns(FairPool);

/// The client that reads a stream.
#[derive(Clone)]
struct StreamReader {
    block: AddressBlock,
    connection: CancellationToken,
    now: BootMs,
}

impl StreamReader {
    fn claimant(&self) -> Claimant<'_> {
        Claimant { block: self.block, connection: Some(&self.connection) }
    }
}

impl EncodingTurns {
    fn new() -> Self {
        Self(FairPool::new(MAX_ENCODING, MAX_CONCURRENT_DOWNLOADS))
    }

    /// Waits for a turn if an image must be encoded.
    async fn wait(&self, item: &FetchedItem, reader: &StreamReader) -> Result<Option<Piece>, Overloaded> {
        let FetchedItem::Image(..) = item else { return Ok(None) };
        let turn = self.0.acquire(Claim::fixed(reader.claimant()), MAX_TURN_WAIT).await.map_err(|_| Overloaded)?;
        Ok(Some(turn))
    }
}

impl ImagesStream {
    /// A stream of `clients` with images from `images`.
    pub(crate) fn new(images: Arc<ImageStore>, clients: Arc<OnlineClients>) -> Self {
        let downloads = FairPool::new(MAX_CONCURRENT_DOWNLOADS, MAX_WAITING);
        Self { images, clients, downloads, turns: EncodingTurns::new() }
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
    ) -> Result<impl Stream<Item = Result<Bytes, ReadError>> + Send + use<>, ReadError> {
        let progress = self.downloads.new_progress();
        progress.set_working();
        let claim = Claim::displaceable(client, progress.clone(), displaced.clone());
        let permit = self.downloads.acquire(claim, MAX_WAIT).await.map_err(|_| Overloaded)?;
        let reader = StreamReader { block: client, connection: displaced, now };
        let mut chunks = Box::pin(chunks(&self.images, self.clients.online(page, now), reader, self.turns.clone()));
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
        Ok(stream::iter(first).chain(stream::poll_fn(move |cx| {
            // Released when the stream is dropped.
            let _running = &permit;
            let polled = chunks.poll_next_unpin(cx);
            match &polled {
                Poll::Pending => progress.set_working(),
                // The client must read this chunk before it asks for the next one.
                Poll::Ready(_) => progress.set_waiting(),
            }
            polled.map(|chunk| chunk.map(|chunk| chunk.map(|chunk| chunk.text)))
        })))
    }
}

/// The JSON text of the whole list, in chunks.
fn chunks(
    images: &Arc<ImageStore>,
    clients: Vec<OnlineRow>,
    reader: StreamReader,
    turns: EncodingTurns,
) -> impl Stream<Item = Result<JsonChunk, ReadError>> + Send + use<> {
    let end = format!("],\"count\":{}}}", clients.len());
    let (lister, fetcher) = (Arc::clone(images), Arc::clone(images));
    let (listing_reader, fetching_reader) = (reader.clone(), reader.clone());
    let mut writer = JsonWriter::default();
    let clients = stream::iter(clients)
        .map(move |client| items(Arc::clone(&lister), client, listing_reader.clone()))
        .buffered(LISTS_AHEAD)
        .flat_map(|items| match items {
            Ok(items) => stream::iter(items.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(unavailable) => stream::iter(vec![Err(unavailable)]),
        })
        .map(move |item| fetch(Arc::clone(&fetcher), item, fetching_reader.clone()))
        .buffered(ITEMS_AHEAD)
        .then(move |fetched| {
            let (reader, turns) = (reader.clone(), turns.clone());
            async move {
                let item = fetched?;
                let turn = turns.wait(&item, &reader).await?;
                Ok::<_, ReadError>((item, turn))
            }
        })
        .map(move |fetched| fetched.map(|(item, turn)| (writer.write(item), turn)))
        .then(async |written| {
            let (chunk, turn) = written?;
            if turn.is_some() {
                // Other requests run before the turn ends, and with it the turn of another stream
                // begins.
                yield_now().await;
            }
            Ok(chunk)
        });
    let framing = |text: String| stream::iter([Ok(JsonChunk { text: text.into(), ends_client: false })]);
    framing("{\"online_clients\":[".to_owned()).chain(clients).chain(framing(end))
}

/// Runs a read of the bucket in a task of its own, which ends with this future.
///
/// The stream is polled only when its client reads. A read that is polled with the stream would
/// keep its place in the fair pool of all reads while the client does not read.
async fn read_in_task<T: Send + 'static>(read: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn(read);
    match task.join_next().await {
        Some(Ok(read)) => read,
        Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime ends.
        _ => std::future::pending().await,
    }
}

/// The items of one client. Lists the names of its images, but reads no image.
async fn items(images: Arc<ImageStore>, client: OnlineRow, reader: StreamReader) -> Result<Vec<StreamItem>, ReadError> {
    let user = client.username.clone();
    let list = async move { images.image_names(&user, reader.now, reader.claimant(), MAX_READ_WAIT).await };
    let mut names = read_in_task(list).await?;
    let newest = names.split_off(names.len().saturating_sub(MAX_IMAGES_PER_CLIENT));
    let user = client.username.clone();
    let newest = newest.into_iter().map(|image| StreamItem::Image(user.clone(), image));
    Ok(std::iter::once(StreamItem::Client(client)).chain(newest).chain([StreamItem::EndOfClient]).collect())
}

/// Fetches the content of an item: reads its image, if it has one.
async fn fetch(
    images: Arc<ImageStore>,
    item: Result<StreamItem, ReadError>,
    reader: StreamReader,
) -> Result<FetchedItem, ReadError> {
    match item? {
        StreamItem::Client(client) => Ok(FetchedItem::Client(client)),
        StreamItem::EndOfClient => Ok(FetchedItem::EndOfClient),
        StreamItem::Image(user, image) => read_in_task(fetch_image(images, user, image, reader)).await,
    }
}

async fn fetch_image(
    images: Arc<ImageStore>,
    user: Username,
    image: ImageName,
    reader: StreamReader,
) -> Result<FetchedItem, ReadError> {
    match images.read_image(&user, &image, reader.now, reader.claimant(), MAX_READ_WAIT).await {
        Ok(Some(bytes)) => Ok(FetchedItem::Image(image, bytes)),
        Ok(None) => {
            debug!(%user, %image, "skipped an image: deleted after the listing");
            Ok(FetchedItem::Missing)
        }
        // The other images are still sent.
        Err(error) if error.concerns_one_object() => {
            images.report_unreadable(&user, &error.cause());
            Ok(FetchedItem::Missing)
        }
        Err(error) => Err(error),
    }
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
mod tests;
