//! Stand-in for Google Drive: the part of its API that Rollcall uses, in memory. Version 3, and of
//! version 2 the etags.
//!
//! It has the properties of Drive that make it hard to use as a bucket: names are not unique, an id
//! that it gave out works for one create, lists by name are stale, lists by parent and type are
//! not, a file without the parameters of shared drives is not found, and requests over the quota
//! are refused. It shows what Google's documents and public reports say. Nobody has compared it
//! with Drive itself.
//!
//! It listens on a free port of 127.0.0.1 until it is dropped, and must start within a tokio
//! runtime. It needs no token.

mod answer;
mod files;
mod query;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::answer::DriveError;
use self::files::{Files, Upload, version_2};
use self::query::Parameters;

/// The id of the shared drive.
pub const DRIVE: &str = "0AExampleDriveIdPVA";

/// The id of the folder for users, which exists from the start.
pub const FOLDER: &str = "1Example-FolderIdOfRegisteredUsers";

/// State of the folder.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FolderState {
    /// The account may write into it.
    #[default]
    Writable,
    /// The account may only read it.
    ReadOnly,
    /// It is on another shared drive.
    OnAnotherDrive,
    /// It is in somebody's own drive, and on no shared drive.
    OnNoSharedDrive,
    /// It does not exist, or the account cannot see it and what it contains.
    Missing,
    /// It is a file.
    File,
    /// It is in the trash.
    Trashed,
}

/// Treatment of `If-Match` by version 2 of the API. Google's documents do not say which is Drive's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IfMatch {
    /// It refuses an etag that is not the current one with 412.
    #[default]
    Honoured,
    /// It accepts every etag.
    Ignored,
    /// It refuses every etag with 412, as if the etag of a file never stood still.
    Refused,
    /// Version 2 has no such call.
    NotFound,
}

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct DriveRequest {
    /// The method.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// Names and values of the query, decoded.
    pub parameters: BTreeMap<String, String>,
    /// The metadata of a write.
    pub metadata: Option<Map<String, Value>>,
    /// The header `If-Match`.
    pub if_match: Option<String>,
}

/// The server.
pub struct DriveServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The task of the server. It ends with this value, and so do all connections.
    _server: JoinSet<()>,
}

#[derive(Default)]
struct State {
    files: Files,
    quota: Option<Quota>,
    /// Method, path and query of each request so far.
    requests: Vec<String>,
    recorded: Vec<DriveRequest>,
    refused: usize,
}

/// Limit on requests.
struct Quota {
    per_second: usize,
    second: Instant,
    used: usize,
}

impl DriveServer {
    /// Starts a server with an empty folder.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let addr = listener.local_addr().expect("it is bound");
        let state = Arc::<Mutex<State>>::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, _server: server }
    }

    /// The URL, a value of `DRIVE_EMULATOR_HOST`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The variables with which a node uses the folder.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("SHARED_DRIVE_ID", DRIVE.to_owned()),
            ("REGISTERED_USERS_FOLDER_ID", FOLDER.to_owned()),
            ("DRIVE_EMULATOR_HOST", self.url()),
        ]
    }

    /// Method, path and query of each request so far: `GET /drive/v3/files/ID?alt=media`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }

    /// All requests so far, in parts.
    pub fn recorded(&self) -> Vec<DriveRequest> {
        lock(&self.state).recorded.clone()
    }

    /// The number of requests so far that were over the quota.
    pub fn refused(&self) -> usize {
        lock(&self.state).refused
    }

    /// Allows this many requests a second. The others are refused, by turns with 403 and 429.
    pub fn limit_requests(&self, per_second: usize) {
        lock(&self.state).quota = Some(Quota { per_second, second: Instant::now(), used: 0 });
    }

    /// Sets the state of the folder.
    pub fn set_folder(&self, folder: FolderState) {
        lock(&self.state).files.folder = folder;
    }

    /// Sets the largest number of files on a page.
    pub fn set_page_size(&self, files: usize) {
        lock(&self.state).files.page_size = files;
    }

    /// The names of all files that are not in the trash, sorted.
    pub fn names(&self) -> Vec<String> {
        lock(&self.state).files.names()
    }

    /// Names and contents of all files with this name.
    pub fn contents(&self, name: &str) -> Vec<Bytes> {
        lock(&self.state).files.contents(name)
    }

    /// The content of each write so far to a file with this name, in their order.
    pub fn history(&self, name: &str) -> Vec<Bytes> {
        lock(&self.state).files.history(name)
    }

    /// Stores a file, as another program does that reserves no id. Names may repeat.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) {
        lock(&self.state).files.put(name, "application/json", bytes.into());
    }

    /// Stores a block of a slot table, as a person does who copies it from another folder.
    pub fn put_block(&self, name: &str, bytes: impl Into<Bytes>) {
        lock(&self.state).files.put(name, "application/vnd.rollcall.slots+json", bytes.into());
    }

    /// Makes all ids invalid that were given out and not used. Whether Drive does this is not
    /// known.
    pub fn expire_reserved_ids(&self) {
        lock(&self.state).files.expire_reserved_ids();
    }

    /// Makes ids work for any number of creates, so that they are no protection.
    pub fn accept_ids_again(&self) {
        lock(&self.state).files.accepts_ids_again = true;
    }

    /// Sets what version 2 of the API does with `If-Match`.
    pub fn set_if_match(&self, if_match: IfMatch) {
        lock(&self.state).files.if_match = if_match;
    }

    /// Lets this many days pass. Files that are made from now on have a later date.
    pub fn advance_days(&self, days: u64) {
        lock(&self.state).files.day += days;
    }

    /// Moves all files with this name into the trash.
    pub fn trash(&self, name: &str) {
        lock(&self.state).files.trash(name);
    }

    /// Shows all files with this name in lists, or hides them, as a drive whose lists are late.
    pub fn set_listed(&self, name: &str, is_listed: bool) {
        lock(&self.state).files.set_listed(name, is_listed);
    }

    /// Sets a property of all files with this name.
    pub fn set_property(&self, name: &str, property: &str, value: &str) {
        lock(&self.state).files.set_property(name, property, value);
    }

    /// Deletes all files with this name for good. Their ids stay used.
    pub fn purge(&self, name: &str) {
        lock(&self.state).files.purge(name);
    }

    /// Gives all files with a name another name, as a person does.
    pub fn rename(&self, from: &str, to: &str) {
        lock(&self.state).files.rename(from, to);
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        // Fails if the client is gone.
        let body = body.collect().await?.to_bytes();
        let answer = lock(&state).respond(&head, &body);
        Ok::<_, hyper::Error>(answer.unwrap_or_else(Response::from).map(Full::new))
    });
    // A client that disconnects is no error of the server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl State {
    fn respond(&mut self, head: &request::Parts, body: &Bytes) -> Result<Response<Bytes>, DriveError> {
        self.requests.push(format!("{} {}", head.method, head.uri));
        self.check_quota()?;
        let parameters = Parameters::parse(head.uri.query().unwrap_or_default());
        let path = head.uri.path();
        let mut recorded = DriveRequest {
            method: head.method.to_string(),
            path: path.to_owned(),
            parameters: parameters.all(),
            metadata: None,
            if_match: head.headers.get("if-match").and_then(|value| value.to_str().ok()).map(str::to_owned),
        };
        if path.contains("/drive/v2/files/") {
            let etag = recorded.if_match.clone().unwrap_or_default();
            self.recorded.push(recorded);
            let (files, id) = (&mut self.files, path.rsplit('/').next().unwrap_or_default());
            return match (&head.method, path.starts_with("/upload/")) {
                _ if files.if_match == IfMatch::NotFound => Err(DriveError::no_such_call()),
                (&Method::GET, false) => version_2::get(files, &parameters, id),
                (&Method::PUT, true) => version_2::update(files, &parameters, id, &etag, body),
                _ => Err(DriveError::no_such_call()),
            };
        }
        if let Some(path) = path.strip_prefix("/upload/drive/v3/files") {
            let upload = Upload::parse(&parameters, &head.headers, body)?;
            recorded.metadata = Some(upload.metadata.clone());
            self.recorded.push(recorded);
            return match (&head.method, path.strip_prefix('/')) {
                (&Method::POST, None) if path.is_empty() => self.files.create(&parameters, upload),
                (&Method::PATCH, Some(id)) => self.files.update(&parameters, id, &upload.metadata, Some(upload.bytes)),
                _ => Err(DriveError::no_such_call()),
            };
        }
        if head.method == Method::PATCH {
            recorded.metadata = serde_json::from_slice(body).ok();
        }
        let metadata = recorded.metadata.clone().unwrap_or_default();
        self.recorded.push(recorded);
        match (&head.method, path.strip_prefix("/drive/v3/files")) {
            (&Method::GET, Some("")) => self.files.list(&parameters),
            (&Method::GET, Some("/generateIds")) => self.files.generate_ids(&parameters),
            (&Method::PATCH, Some(path)) => {
                self.files.update(&parameters, path.trim_start_matches('/'), &metadata, None)
            }
            (&Method::GET, Some(path)) => self.files.get(&parameters, path.trim_start_matches('/')),
            _ => Err(DriveError::no_such_call()),
        }
    }

    fn check_quota(&mut self) -> Result<(), DriveError> {
        let Some(quota) = &mut self.quota else { return Ok(()) };
        if quota.second.elapsed().as_secs() > 0 {
            (quota.second, quota.used) = (Instant::now(), 0);
        }
        quota.used += 1;
        if quota.used <= quota.per_second {
            return Ok(());
        }
        self.refused += 1;
        let (status, reason) =
            if self.refused.is_multiple_of(2) { (429, "rateLimitExceeded") } else { (403, "userRateLimitExceeded") };
        Err(DriveError::new(
            status,
            reason,
            "User Rate Limit Exceeded. Rate of requests for user exceed configured quota.",
        ))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics while it holds the lock")
}
