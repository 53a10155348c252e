//! What changed in the list of who is online since a client read it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;

use super::blocking::on_a_thread;
use super::cursor::Cursor;
use super::encode::client;
use crate::http::app::Shared;
use crate::http::error::ApiError;
use crate::http::limits::INLINE_CHANGES;
use crate::registry::{OfflineReason, OnlineChanges, Registry};
use rollcall_core::api::{ClientLeft, DiscoveredChanges, LeftReason, ListChanges};
use rollcall_core::clock;

/// The changes that were told last: whoever waited for them gets the same bytes.
#[derive(Default)]
pub(in crate::http) struct CachedChanges {
    last: Mutex<Option<Text>>,
    /// Whose turn it is to put many changes together.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Text {
    since: Cursor,
    until: u64,
    bytes: Bytes,
}

impl CachedChanges {
    /// What changed since then as JSON; `None` if that is not known any more.
    ///
    /// # Errors
    /// `internal` if putting it together panics.
    pub(in crate::http) async fn since(&self, app: &Shared, since: Cursor) -> Result<Option<Bytes>, ApiError> {
        if let Some(bytes) = self.of(app, since) {
            return Ok(Some(bytes));
        }
        let behind = app.registry.online_version(clock::boot_now()).saturating_sub(since.version);
        let text = if behind <= INLINE_CHANGES {
            write(&app.registry, since)
        } else {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            if let Some(bytes) = self.of(app, since) {
                return Ok(Some(bytes));
            }
            let registry = app.registry.clone();
            let work = move || {
                let _turn = turn;
                write(&registry, since)
            };
            on_a_thread(work).await?
        };
        let bytes = text.as_ref().map(|text| text.bytes.clone());
        if text.is_some() {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
        Ok(bytes)
    }

    fn of(&self, app: &Shared, since: Cursor) -> Option<Bytes> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let is_it = last.since == since && last.until == app.registry.online_version(clock::boot_now());
        is_it.then_some(last.bytes)
    }
}

fn write(registry: &Registry, since: Cursor) -> Option<Text> {
    let OnlineChanges { changes, version, online_count } = registry.changes_since(since.version, clock::boot_now())?;
    let left = changes.left().map(|(username, reason)| ClientLeft {
        username: username.clone(),
        reason: match reason {
            OfflineReason::Timeout => LeftReason::Timeout,
        },
    });
    let changes = ListChanges {
        joined: changes.joined().map(client).collect(),
        left: left.collect(),
        moved: changes.moved().map(client).collect(),
    };
    let cursor = Cursor { version, ..since }.to_string();
    let answer = DiscoveredChanges { changes, cursor, count: online_count, is_leader: true };
    let bytes = serde_json::to_vec(&answer).expect("it has text keys only").into();
    Some(Text { since, until: version, bytes })
}
