//! Server with the part of the S3 API that Rollcall uses, in memory.
//!
//! It listens on a free port of 127.0.0.1 until it is dropped, and must start within a tokio
//! runtime. It does not check signatures. It does check that the body has the hash that was signed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The only bucket of the server.
pub const BUCKET: &str = "rollcall-test";

/// Largest number of names per page of a listing.
const MAX_KEYS: usize = 1000;

/// Whether the server honours `If-None-Match` and `If-Match`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preconditions {
    /// As S3 does.
    #[default]
    Honoured,
    /// As some stores do that call themselves compatible.
    Ignored,
}

/// The server.
#[derive(Debug)]
pub struct S3Server {
    addr: SocketAddr,
    state: Arc<State>,
    /// The task of the server. It ends with this value, and so do all connections.
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    preconditions: Preconditions,
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Stored>,
    writes: u64,
    requests: Vec<String>,
}

#[derive(Clone, Debug)]
struct Stored {
    bytes: Bytes,
    media_type: String,
    e_tag: String,
}

/// An error of S3: status, code and message.
struct Refusal(StatusCode, &'static str, &'static str);

const NO_SUCH_KEY: Refusal = Refusal(StatusCode::NOT_FOUND, "NoSuchKey", "The key does not exist.");
const PRECONDITION_FAILED: Refusal =
    Refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "A precondition does not hold.");

impl S3Server {
    /// Starts a server with an empty bucket.
    pub fn start(preconditions: Preconditions) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let addr = listener.local_addr().expect("it is bound");
        let state = Arc::new(State { preconditions, ..State::default() });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, _server: server }
    }

    /// The endpoint, a value of `S3_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The variables with which a node uses the bucket.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("S3_BUCKET", BUCKET.to_owned()),
            ("S3_ENDPOINT", self.url()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// Methods, paths and queries of all requests so far: `PUT /rollcall-test/cluster.json`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state.bucket).requests.clone()
    }

    /// Names of all objects.
    pub fn names(&self) -> Vec<String> {
        lock(&self.state.bucket).objects.keys().cloned().collect()
    }

    /// The media type of an object.
    pub fn media_type(&self, name: &str) -> Option<String> {
        lock(&self.state.bucket).objects.get(name).map(|object| object.media_type.clone())
    }

    /// Stores an object, as another program does.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        lock(&self.state.bucket).store(name.to_owned(), bytes.into(), String::new());
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        // Fails if the client is gone.
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(state.respond(&head, body).unwrap_or_else(Response::from).map(Full::new))
    });
    // A client that disconnects is no error of the server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl State {
    fn respond(&self, head: &request::Parts, body: Bytes) -> Result<Response<Bytes>, Refusal> {
        let path = percent_decode_str(head.uri.path()).decode_utf8_lossy().into_owned();
        let mut bucket = lock(&self.bucket);
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        bucket.requests.push(format!("{} {}", head.method, percent_decode_str(target).decode_utf8_lossy()));
        if head.headers.get("authorization").is_none() {
            return Err(Refusal(StatusCode::FORBIDDEN, "AccessDenied", "The request is not signed."));
        }
        let name = path.strip_prefix('/').and_then(|path| path.strip_prefix(BUCKET)).unwrap_or("?");
        let name = match name.strip_prefix('/') {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ if name.is_empty() || name == "/" => String::new(),
            _ => return Err(Refusal(StatusCode::NOT_FOUND, "NoSuchBucket", "The bucket does not exist.")),
        };
        match head.method {
            Method::GET if name.is_empty() => Ok(bucket.list(head.uri.query().unwrap_or_default())),
            Method::GET => bucket.objects.get(&name).map(read).ok_or(NO_SUCH_KEY),
            Method::DELETE => {
                bucket.objects.remove(&name);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            Method::PUT => {
                if self.preconditions == Preconditions::Honoured {
                    bucket.check_preconditions(&name, &head.headers)?;
                }
                check_hash(&head.headers, &body)?;
                let e_tag = bucket.store(name, body, text(&head.headers, "content-type").to_owned());
                let mut written = empty(StatusCode::OK);
                written.headers_mut().insert("etag", e_tag.parse().expect("ASCII"));
                Ok(written)
            }
            _ => Err(Refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "This server lacks this function.")),
        }
    }
}

impl Bucket {
    fn store(&mut self, name: String, bytes: Bytes, media_type: String) -> String {
        self.writes += 1;
        let e_tag = format!("\"{:032x}\"", self.writes);
        self.objects.insert(name, Stored { bytes, media_type, e_tag: e_tag.clone() });
        e_tag
    }

    fn check_preconditions(&self, name: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let found = self.objects.get(name);
        if text(headers, "if-none-match") == "*" && found.is_some() {
            return Err(PRECONDITION_FAILED);
        }
        match (headers.get("if-match"), found) {
            (Some(_), None) => Err(NO_SUCH_KEY),
            (Some(e_tag), Some(found)) if e_tag.as_bytes() != found.e_tag.as_bytes() => Err(PRECONDITION_FAILED),
            _ => Ok(()),
        }
    }

    /// A page of a listing (`ListObjectsV2`). The token of a page is the last entry of the one
    /// before it.
    fn list(&self, query: &str) -> Response<Bytes> {
        let parameter = |name: &str| {
            let value =
                query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
            percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let (prefix, delimiter, token) = (parameter("prefix"), parameter("delimiter"), parameter("continuation-token"));
        let limit = parameter("max-keys").parse().unwrap_or(MAX_KEYS).min(MAX_KEYS);
        let mut entries: Vec<&str> = Vec::new();
        for name in self.objects.keys() {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let end = rest.find(&delimiter).filter(|_| !delimiter.is_empty());
            let entry = &name[..end.map_or(name.len(), |at| prefix.len() + at + delimiter.len())];
            if entry > token.as_str() && entries.last() != Some(&entry) {
                entries.push(entry);
            }
        }
        let is_truncated = entries.len() > limit;
        entries.truncate(limit);
        let mut xml = format!("<?xml version=\"1.0\"?>\n<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
        for entry in &entries {
            let name = escape(entry);
            let _ = match self.objects.get(*entry) {
                Some(object) => write!(
                    xml,
                    "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>{}</ETag>\
                     <Size>{}</Size></Contents>",
                    escape(&object.e_tag),
                    object.bytes.len()
                ),
                None => write!(xml, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
            };
        }
        if let Some(last) = entries.last().filter(|_| is_truncated) {
            let _ = write!(xml, "<NextContinuationToken>{}</NextContinuationToken>", escape(last));
        }
        xml.push_str("</ListBucketResult>");
        Response::new(xml.into())
    }
}

fn read(object: &Stored) -> Response<Bytes> {
    let mut response = Response::new(object.bytes.clone());
    response.headers_mut().insert("etag", object.e_tag.parse().expect("ASCII"));
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Refuses a body that has not the hash that the client signed.
fn check_hash(headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
    let signed = text(headers, "x-amz-content-sha256");
    let found = Sha256::digest(body).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    if signed.len() == found.len() && signed != found {
        return Err(Refusal(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch", "The body has another hash."));
    }
    Ok(())
}

impl From<Refusal> for Response<Bytes> {
    fn from(Refusal(status, code, message): Refusal) -> Self {
        let xml = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let mut response = Response::new(Bytes::from(xml));
        *response.status_mut() = status;
        response
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds the lock")
}
