//! Lists from a node that does not lead: its own copy of them, and how old that is, for who asks with `?stale=true`.

use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, RequestPartsExt};
use serde::Deserialize;

use super::app::Shared;
use super::error::ApiError;
use super::lists::Lists;
use super::params::Paging;
use super::sending::{self, List, Reader};
use super::{presence, users};
use crate::clock;
use crate::domain::Page;

/// How many milliseconds ago the list was last known to be the leader's.
pub(super) const AGE: HeaderName = HeaderName::from_static("rollcall-age-ms");

#[derive(Deserialize)]
struct StaleQuery {
    stale: String,
}

/// The layer around the gate of the lists: who asks for it gets this node's copy, unless this node serves. A leader's list
/// is never stale.
pub(super) async fn copy_or_leader(
    State(app): State<Shared>,
    Extension(lists): Extension<Lists>,
    request: Request,
    next: Next,
) -> Response {
    if !wants_copy(request.uri()) || app.serving_term().is_ok() {
        return next.run(request).await;
    }
    copy(&app, &lists, request).await.unwrap_or_else(IntoResponse::into_response)
}

fn wants_copy(uri: &Uri) -> bool {
    let query = Query::<StaleQuery>::try_from_uri(uri);
    uri.query().is_some() && query.is_ok_and(|Query(query)| matches!(query.stale.as_str(), "" | "1" | "true"))
}

async fn copy(app: &Shared, lists: &Lists, request: Request) -> Result<Response, ApiError> {
    let copied_at = *app.copied.borrow();
    let age_ms = copied_at.map(|at| clock::boot_now().since(at)).ok_or(ApiError::NoCopy)?;
    let (mut parts, _) = request.into_parts();
    let Paging(page) = Paging::from_request_parts(&mut parts, &()).await?;
    let Ok(reader) = parts.extract::<Reader>().await;
    let make = writer(parts.uri.path());
    let place = lists.place().await?;
    let registry = app.registry.clone();
    let list = lists.part(page, move |page| List::new(make(&registry, page), None)).await?;
    let mut response = sending::send(list, reader, place)?;
    response.headers_mut().insert(AGE, HeaderValue::from(age_ms));
    Ok(response)
}

/// What writes the list that a path names. Only paths of lists come here.
fn writer(path: &str) -> fn(&crate::registry::Registry, Page) -> Vec<u8> {
    match path {
        users::PATH => users::write_users,
        presence::ONLINE_NAMES => presence::write_names,
        _ => |registry, page| presence::write_discovered(registry, page, false),
    }
}
