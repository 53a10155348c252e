//! Waits until there is something to answer to who knows the list already: `/discover?since=...&wait=...`.
//!
//! It stands before the gate, so whoever waits has not come in yet: a handover does not wait for it, and it meets the gate
//! afterwards as any other request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::cursor::{ClientCursor, ListSource};
use super::since_param::parse_wait;
use crate::http::app::SharedApp;
use crate::http::error::ApiError;
use crate::http::limits::MAX_LONG_POLLS;
use rollcall_core::clock;

/// The state of the layer.
#[derive(Clone)]
pub(in crate::http) struct LongPoll {
    app: SharedApp,
    permits: Arc<Semaphore>,
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
        Self { app: Arc::clone(app), permits: Arc::new(Semaphore::new(MAX_LONG_POLLS)) }
    }

    /// Waits as long as the request wants and there is nothing to tell it. What is wrong with it is for its handler to say.
    async fn wait(&self, uri: &Uri) -> Result<(), ApiError> {
        let Ok(Query(query)) = Query::<PollQuery>::try_from_uri(uri) else { return Ok(()) };
        // A part of the list has no changes; its handler says so, and need not wait for that.
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
        let _permit = self.permits.try_acquire().map_err(|_| ApiError::Overloaded)?;
        debug!("a client waits for changes of the list since {}", query.since);
        let mut updates = self.app.list_updates.clone();
        let changed = updates.wait_for(|update| update.leading_term != Some(term) || Some(update.version) > known);
        // If nobody tells news any more, the node is about to end.
        let _ = timeout(wait, changed).await;
        Ok(())
    }
}

/// The layer around `/discover`.
pub(in crate::http) async fn wait_for_changes(
    State(long_poll): State<LongPoll>,
    request: Request,
    next: Next,
) -> Response {
    match long_poll.wait(request.uri()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests;
