//! Responses with lists and images: entity tags, chunks, and the shared memory limit.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};

use super::cursor::ListCursor;
use super::etag;
use super::list_budget::ListPermit;
use crate::http::error::ApiError;
use crate::http::json::APPLICATION_JSON;
use crate::http::limits::LIST_CHUNK_BYTES;
use crate::http::pool_client::PoolClient;
use crate::http::slow_read_timeout::SlowReadTimeout;

/// Response header with the cursor of a whole list.
pub(in crate::http) const CURSOR_HEADER: HeaderName = HeaderName::from_static("rollcall-cursor");

/// A list as JSON, shared by all its readers.
#[derive(Clone, Debug)]
pub(in crate::http) struct EncodedList {
    bytes: Bytes,
    tag: HeaderValue,
    cursor: Option<HeaderValue>,
}

impl EncodedList {
    /// Wraps an encoded list and computes its tag. `cursor` is `Some` if clients can ask for
    /// changes since this list. The tag is a hash of all bytes, so a long list takes some time.
    pub(in crate::http) fn new(mut json: Vec<u8>, cursor: Option<ListCursor>) -> Self {
        // The list may stay in a cache for a long time. Spare capacity would waste memory.
        json.shrink_to_fit();
        let cursor = cursor.map(|cursor| HeaderValue::try_from(cursor.to_string()).expect("digits and dashes"));
        let bytes = Bytes::from(json);
        Self { tag: etag::entity_tag(&bytes), bytes, cursor }
    }

    /// Length in bytes.
    pub(in crate::http) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The entity tag.
    pub(in crate::http) fn tag(&self) -> &HeaderValue {
        &self.tag
    }

    /// The same list for a client whose cursor is unknown. It has two parts, so that the long part
    /// is not copied.
    pub(in crate::http) fn to_reset_body(&self) -> Vec<Bytes> {
        let cursor = self.cursor.as_ref().and_then(|cursor| cursor.to_str().ok()).unwrap_or_default();
        let fields = format!("{{\"reset\":true,\"cursor\":\"{cursor}\",");
        // The list is an object that is not empty. Its opening brace is replaced.
        vec![fields.into(), self.bytes.slice(1..)]
    }
}

/// The client that reads a list: what it already has, and the limit on slow reads.
pub(in crate::http) struct ListReader {
    pub(in crate::http) client: PoolClient,
    is_head: bool,
    if_none_match: Vec<HeaderValue>,
    slow_read: SlowReadTimeout,
}

impl ListReader {
    /// Whether the response has a body. It has none if the client asked for the headers alone, or
    /// if it has what this tag stands for.
    pub(in crate::http) fn needs_body(&self, tag: &HeaderValue) -> bool {
        !self.is_head && !self.has(tag)
    }

    /// Whether the tag decides if the response has a body.
    pub(in crate::http) fn is_conditional(&self) -> bool {
        self.is_head || !self.if_none_match.is_empty()
    }

    fn has(&self, tag: &HeaderValue) -> bool {
        self.if_none_match.iter().any(|header| etag::matches_tag(header, tag))
    }
}

impl<S: Sync> FromRequestParts<S> for ListReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let client = PoolClient::from_request_parts(parts, state).await?;
        let is_head = parts.method == Method::HEAD;
        let if_none_match = parts.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect();
        // Tests have no connection, and so no limit on slow reads.
        let slow_read = parts.extensions.get::<SlowReadTimeout>().cloned().unwrap_or_default();
        Ok(Self { client, is_head, if_none_match, slow_read })
    }
}

/// A response with the list, or 304 if the client already has it. Without a permit only if the
/// reader needs no body.
pub(in crate::http) fn respond(list: EncodedList, reader: ListReader, permit: Option<ListPermit>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(cursor) = list.cursor {
        headers.insert(CURSOR_HEADER, cursor);
    }
    headers.insert(header::CONTENT_TYPE, APPLICATION_JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    respond_with_tag(headers, list.tag, list.bytes, reader, permit)
}

/// A response with these bytes, which have this tag, or 304 if the client already has them. Without
/// a permit only if the reader needs no body.
pub(in crate::http) fn respond_with_tag(
    mut headers: HeaderMap,
    tag: HeaderValue,
    bytes: Bytes,
    reader: ListReader,
    permit: Option<ListPermit>,
) -> Response {
    let is_not_modified = reader.has(&tag);
    headers.insert(header::ETAG, tag);
    if is_not_modified {
        headers.remove(header::CONTENT_TYPE);
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let body = match permit {
        Some(permit) => body(vec![bytes], reader.slow_read, permit),
        // The router removes it again.
        None => Body::from(bytes),
    };
    (headers, body).into_response()
}

/// A response in parts that must not be cached.
pub(in crate::http) fn respond_uncached(parts: Vec<Bytes>, reader: ListReader, permit: ListPermit) -> Response {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let headers = [
        (header::CONTENT_TYPE, APPLICATION_JSON),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body(parts, reader.slow_read, permit)).into_response()
}

/// A body of `parts`. A long body is sent in chunks. It holds its permit until it is sent, and is
/// subject to the limit on slow reads.
fn body(mut parts: Vec<Bytes>, slow_read: SlowReadTimeout, permit: ListPermit) -> Body {
    if parts.iter().map(Bytes::len).sum::<usize>() > LIST_CHUNK_BYTES {
        return Body::from_stream(slow_read.watch(chunks(parts, permit)));
    }
    if parts.len() == 1 { Body::from(parts.remove(0)) } else { Body::from(parts.concat()) }
}

fn chunks(parts: Vec<Bytes>, permit: ListPermit) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let chunks = parts.into_iter().flat_map(|part| {
        (0..part.len())
            .step_by(LIST_CHUNK_BYTES)
            .map(move |start| part.slice(start..part.len().min(start + LIST_CHUNK_BYTES)))
    });
    stream::iter(chunks).map(move |chunk| {
        permit.note_part_sent();
        Ok(chunk)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use axum::extract::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::super::list_budget::ListBudget;
    use super::*;
    use crate::http::limits::{LIST_PERMIT_BYTES, LIST_PERMITS, MAX_PERMITS_PER_LIST};
    use crate::http::params::ClientAddr;
    use crate::http::pool_client::DisplacedConnection;
    use crate::http::testing::{TestNode, request};

    /// The bytes of a list as text.
    pub(in crate::http) fn text(list: &EncodedList) -> String {
        String::from_utf8(list.bytes.to_vec()).unwrap()
    }

    fn list_of(length: usize) -> EncodedList {
        EncodedList::new(vec![b'x'; length], None)
    }

    fn client() -> PoolClient {
        let addr = ClientAddr(std::net::Ipv4Addr::LOCALHOST.into());
        PoolClient { addr, connection: DisplacedConnection::default() }
    }

    fn reader() -> ListReader {
        let slow_read = SlowReadTimeout::default();
        ListReader { client: client(), is_head: false, if_none_match: Vec::new(), slow_read }
    }

    #[tokio::test]
    async fn a_list_of_any_size_is_sent_byte_for_byte_with_its_length() {
        for length in [2, LIST_CHUNK_BYTES, LIST_CHUNK_BYTES + 1, 3 * LIST_CHUNK_BYTES, 3 * LIST_CHUNK_BYTES + 7] {
            let list = EncodedList::new((0..length).map(|n| u8::try_from(n % 251).unwrap()).collect(), None);
            let permit = ListBudget::new(LIST_PERMITS).acquire(&client(), length).await.unwrap();
            let response = respond(list.clone(), reader(), Some(permit));
            assert_eq!(response.headers()["content-length"], length.to_string());
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), list.bytes);
        }
    }

    #[tokio::test]
    async fn a_list_holds_a_permit_per_mebibyte_until_it_is_sent_and_no_list_holds_all_permits() {
        let mib = LIST_PERMIT_BYTES;
        for (length, taken) in [
            (LIST_CHUNK_BYTES, 0),
            (LIST_CHUNK_BYTES + 1, 1),
            (mib, 1),
            (mib + 1, 2),
            (10 * mib, 10),
            (100 * mib, MAX_PERMITS_PER_LIST),
        ] {
            let budget = ListBudget::new(LIST_PERMITS);
            let permit = budget.acquire(&client(), length).await.unwrap();
            let response = respond(list_of(length), reader(), Some(permit));
            assert_eq!(budget.available(), LIST_PERMITS - taken, "{length}");
            let mut body = response.into_body();
            while let Some(chunk) = body.frame().await {
                assert!(chunk.unwrap().into_data().unwrap().len() <= LIST_CHUNK_BYTES);
            }
            drop(body);
            assert_eq!(budget.available(), LIST_PERMITS, "{length}");
        }
    }

    fn request_with_client(method: &str, path: &str, body: &'static str) -> Request {
        let mut request = request(method, path, body);
        request.extensions_mut().insert(ClientAddr("10.0.0.9".parse().unwrap()));
        request
    }

    #[tokio::test]
    async fn when_slow_readers_hold_all_permits_lists_are_rejected_and_heartbeats_are_not() {
        let node = TestNode::with_alice_and_bob().await;
        let long = "x".repeat(4000);
        for n in 0..20 {
            let body = format!("{{\"username\":\"u{n}\",\"metadata\":{{\"a\":\"{long}\"}}}}");
            assert_eq!(node.post("/register", body).await.status, 201);
        }
        let mut unread = Vec::new();
        loop {
            let response = node.router.clone().oneshot(request_with_client("GET", "/users", "")).await.unwrap();
            if response.status() != 200 {
                break;
            }
            unread.push(response);
            assert!(unread.len() <= LIST_PERMITS, "no list was rejected");
        }
        assert_eq!(unread.len(), LIST_PERMITS);
        for list in ["/users", "/discover", "/discover?limit=1", "/discover?since=0", "/discovery/online"] {
            node.get(list).await.expect_error(503, "overloaded");
        }
        assert_eq!(node.post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
        assert_eq!(node.post("/register", r#"{"username":"zoe"}"#).await.status, 201);
        unread.pop();
        assert_eq!(node.get("/discover").await.json()["count"], 1);
        assert_eq!(node.get("/users").await.json()["count"], 23);
    }
}
