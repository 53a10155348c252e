//! Long polling: `/discover?since=...&wait=...` waits until the list changes.
//!
//! This layer stands before the leader gate. So a waiting request does not count as in flight, and
//! a handover does not wait for it. After the wait the request passes the gate like any other
//! request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{Query, Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;
use tracing::debug;

use super::cursor::{ClientCursor, ListSource};
use super::since_param::parse_wait;
use crate::fair_pool::{Claim, FairPool};
use crate::http::app::SharedApp;
use crate::http::error::ApiError;
use crate::http::limits::{MAX_LONG_POLLS, MAX_SLOT_WAIT, MAX_WAITING_REQUESTS};
use crate::http::pool_client::PoolClient;
use rollcall_core::clock;

/// State of the long-poll middleware.
#[derive(Clone)]
pub(in crate::http) struct LongPoll {
    app: SharedApp,
    places: FairPool,
}

#[derive(Deserialize)]
struct PollQuery {
    since: String,
    wait: String,
    #[serde(flatten)]
    others: HashMap<String, String>,
}

impl LongPoll {
    pub(in crate::http) fn new(app: &SharedApp) -> Self {
        Self { app: Arc::clone(app), places: FairPool::new(MAX_LONG_POLLS, MAX_WAITING_REQUESTS) }
    }

    /// Waits until the list changes, at most as long as the request asks for. An invalid request
    /// does not wait. Its handler rejects it.
    ///
    /// If another client needs its place, or its connection, the wait ends at once. The answer then
    /// has no changes.
    async fn wait(&self, uri: &Uri, client: &PoolClient) -> Result<(), ApiError> {
        let Ok(Query(query)) = Query::<PollQuery>::try_from_uri(uri) else { return Ok(()) };
        // A page has no long poll: the handler rejects this request.
        if ["limit", "after", "prefix"].iter().any(|name| query.others.contains_key(*name)) {
            return Ok(());
        }
        let (Some(since), Some(wait)) = (ClientCursor::parse(&query.since), parse_wait(&query.wait)) else {
            return Ok(());
        };
        let Ok(term) = self.app.serving_term() else { return Ok(()) };
        let known = since.version_of(ListSource { term, started_at: self.app.this_node.started_at });
        if wait.is_zero() || known != Some(self.app.registry.online_version(clock::boot_now())) {
            return Ok(());
        }
        let displaced = client.connection.0.child_token();
        let claim = Claim::displaceable(client.block(), self.places.new_progress(), displaced.clone());
        let _place = self.places.acquire(claim, MAX_SLOT_WAIT).await.map_err(|_| ApiError::Overloaded)?;
        debug!(cursor = query.since, "a client waits for changes of the list");
        let mut updates = self.app.list_updates.clone();
        let changed = updates.wait_for(|update| update.leading_term != Some(term) || Some(update.version) > known);
        tokio::select! {
            // After a timeout there are no changes. An error means that the publisher has ended,
            // because the node is about to stop.
            _ = timeout(wait, changed) => {}
            () = displaced.cancelled() => {}
        }
        Ok(())
    }
}

/// Middleware around `/discover`: a long poll waits here before the leader gate.
pub(in crate::http) async fn wait_for_changes(
    State(long_poll): State<LongPoll>,
    mut request: Request,
    next: Next,
) -> Response {
    let waited = match request.extract_parts::<PoolClient>().await {
        Ok(client) => long_poll.wait(request.uri(), &client).await,
        Err(error) => Err(error),
    };
    match waited {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests;
