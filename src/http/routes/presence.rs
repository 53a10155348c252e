//! Routes for heartbeats and for the lists of online clients.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tracing::debug;

use super::fields::{ADDR, USERNAME, parse_addr};
use crate::http::app::SharedApp;
use crate::http::credentials::{Authorization, caller};
use crate::http::error::ApiError;
use crate::http::json::RawJson;
use crate::http::json_body::{FieldSpec, JsonBody};
use crate::http::leader_gate::LeaderOnly;
use crate::http::lists::cursor::{ClientCursor, ListCursor, ListSource};
use crate::http::lists::list_response::{self, EncodedList, ListReader};
use crate::http::lists::since_param::SinceParam;
use crate::http::lists::{ListService, encode};
use crate::http::params::{ClientAddr, PageParams};
use crate::http::pool_client::PoolClient;
use crate::registry::{AcceptedHeartbeat, Caller};
use rollcall_core::api::Heartbeat;
use rollcall_core::clock;
use rollcall_core::{Addr, BootMs, Page, Username};

const HEARTBEAT: &[FieldSpec] = &[USERNAME, ADDR];

/// Initial size of the buffer for a response to a heartbeat, in bytes. Most responses fit, so the
/// buffer rarely grows.
const ACCEPTED_BUFFER_BYTES: usize = 256;

/// `POST /heartbeat`.
pub(in crate::http) async fn heartbeat(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    client: PoolClient,
    authorization: Authorization,
    body: JsonBody,
) -> Result<RawJson, ApiError> {
    let (username, addr) = parse_heartbeat(client.addr, &body)?;
    let beat = app.registry.heartbeat(&username, addr, authorization.credentials(), caller(&client)).await?;
    Ok(RawJson(encode_accepted(&username, beat)))
}

/// `POST /heartbeat` without waiting, for the fast path. Returns the body of the response, or
/// `None` if the heartbeat is invalid or cannot be accepted at once.
pub(in crate::http) fn try_heartbeat(
    app: &SharedApp,
    client: ClientAddr,
    now: BootMs,
    headers: &HeaderMap,
    body: &JsonBody,
) -> Option<Vec<u8>> {
    let (username, addr) = parse_heartbeat(client, body).ok()?;
    let beat = app.registry.renew(&username, addr, now).or_else(|| {
        let caller = Caller { from: client.ip(), now, wall: clock::wall_now(), connection: None };
        app.registry.try_heartbeat(&username, addr, Authorization::from_headers(headers).credentials(), caller)
    })?;
    Some(encode_accepted(&username, beat))
}

fn parse_heartbeat(client: ClientAddr, body: &JsonBody) -> Result<(Username, Option<Addr>), ApiError> {
    let heartbeat: Heartbeat = body.parse(HEARTBEAT)?;
    let username = Username::parse(&heartbeat.username.0)?;
    Ok((username, parse_addr(heartbeat.addr.as_ref(), client)?))
}

/// Encodes an [`Accepted`](rollcall_core::api::Accepted). It is written by hand, because it is the
/// most frequent response. Only the username may need escaping.
fn encode_accepted(username: &Username, beat: AcceptedHeartbeat) -> Vec<u8> {
    debug!(user = %username, "heartbeat accepted");
    let mut text = Vec::with_capacity(ACCEPTED_BUFFER_BYTES);
    text.extend_from_slice(b"{\"success\":true,\"status\":\"ok\",\"message\":\"Heartbeat accepted for '");
    append_escaped(&mut text, username.as_str());
    text.push(b'\'');
    if let Some(addr) = beat.addr {
        text.extend_from_slice(b" at ");
        addr.append_to(&mut text);
    }
    text.extend_from_slice(b"\",\"last_seen\":\"");
    text.extend_from_slice(&beat.seen_at.rfc3339_bytes());
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(b"\",\"ttl_ms\":");
    text.extend_from_slice(digits.format(beat.ttl_ms).as_bytes());
    text.extend_from_slice(b",\"next_heartbeat_ms\":");
    text.extend_from_slice(digits.format(beat.next_heartbeat_ms).as_bytes());
    text.push(b'}');
    text
}

/// Appends `part` as a part of a JSON string. Almost no username has a character to escape.
fn append_escaped(json: &mut Vec<u8>, part: &str) {
    if part.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\')) {
        json.extend_from_slice(part.as_bytes());
    } else {
        let quoted = serde_json::to_vec(part).expect("text is valid JSON");
        json.extend_from_slice(&quoted[1..quoted.len() - 1]);
    }
}

/// `GET /discover`.
pub(super) async fn discover(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    PageParams(page): PageParams,
    SinceParam(since): SinceParam,
    reader: ListReader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let source = ListSource { term: leader.term, started_at: app.this_node.started_at };
    if let Some(since) = since {
        return respond_with_changes(&app, &lists, source, since, reader).await;
    }
    let build = encode_online_clients(&app, source);
    lists
        .respond(
            &lists.leader_lists().online_clients,
            source.term,
            page,
            reader,
            || app.registry.online_version(clock::boot_now()),
            build,
        )
        .await
}

/// Answers with the changes since the client's cursor, or with the whole list if the cursor is
/// unknown or too old.
async fn respond_with_changes(
    app: &SharedApp,
    lists: &ListService,
    source: ListSource,
    since: ClientCursor,
    reader: ListReader,
) -> Result<Response, ApiError> {
    let build = || async {
        let changes = match since.version_of(source) {
            Some(version) => lists.changes().get_or_encode(app, ListCursor { source, version }).await?,
            None => None,
        };
        if let Some(changes) = changes {
            return Ok(vec![changes]);
        }
        let encode = encode_online_clients(app, source);
        let full_list = move |version| encode(Page::default(), Some(version));
        let version = || app.registry.online_version(clock::boot_now());
        let list = lists.leader_lists().online_clients.get_or_build(source.term, version, full_list).await?;
        Ok(list.to_reset_body())
    };
    let (parts, permit) = lists.build_within(&reader.client, build, |parts| parts.iter().map(Bytes::len).sum()).await?;
    Ok(list_response::respond_uncached(parts, reader, permit))
}

/// Returns the function that builds a list of online clients.
fn encode_online_clients(
    app: &SharedApp,
    source: ListSource,
) -> impl Fn(Page, Option<u64>) -> EncodedList + Send + 'static {
    let registry = app.registry.clone();
    move |page, version| {
        let cursor = version.map(|version| ListCursor { source, version });
        EncodedList::new(encode::online_clients(&registry, page, true), cursor)
    }
}

/// `GET /discovery/online`.
pub(super) async fn online_names(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    PageParams(page): PageParams,
    reader: ListReader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let registry = app.registry.clone();
    let build = move |page, _| EncodedList::new(encode::online_names(&registry, page), None);
    lists
        .respond(
            &lists.leader_lists().online_names,
            leader.term,
            page,
            reader,
            || app.registry.online_version(clock::boot_now()),
            build,
        )
        .await
}

#[cfg(test)]
mod tests;
