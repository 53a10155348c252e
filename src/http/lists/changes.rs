//! Changes of the list of online clients since a cursor, encoded as JSON and cached.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;

use super::blocking::run_blocking;
use super::cursor::ListCursor;
use super::encode::to_client;
use crate::http::app::SharedApp;
use crate::http::error::ApiError;
use crate::http::limits::MAX_INLINE_CHANGES;
use crate::registry::{OfflineReason, OnlineChanges, Registry};
use rollcall_core::api::{ClientLeft, DiscoveredChanges, LeftReason, ListChanges};
use rollcall_core::clock;

/// Cache of the changes that were encoded last. Requests that waited for the same change get the
/// same bytes.
#[derive(Default)]
pub(in crate::http) struct CachedChanges {
    last: Mutex<Option<EncodedChanges>>,
    /// Held while many changes are encoded, so that concurrent requests encode them only once.
    encode_lock: Arc<tokio::sync::Mutex<()>>,
}

/// The changes between two versions of the list, as JSON.
#[derive(Clone)]
struct EncodedChanges {
    since: ListCursor,
    /// Version of the list that includes these changes.
    until: u64,
    bytes: Bytes,
}

impl CachedChanges {
    /// Returns the changes since the cursor as JSON. `None` if the change log no longer has all of
    /// them.
    ///
    /// # Errors
    /// `internal` if encoding them panics.
    pub(in crate::http) async fn get_or_encode(
        &self,
        app: &SharedApp,
        since: ListCursor,
    ) -> Result<Option<Bytes>, ApiError> {
        if let Some(bytes) = self.cached(app, since) {
            return Ok(Some(bytes));
        }
        let behind = app.registry.online_version(clock::boot_now()).saturating_sub(since.version);
        let encoded = if behind <= MAX_INLINE_CHANGES {
            encode(&app.registry, since)
        } else {
            let encode_lock = Arc::clone(&self.encode_lock).lock_owned().await;
            if let Some(bytes) = self.cached(app, since) {
                return Ok(Some(bytes));
            }
            let registry = app.registry.clone();
            let work = move || {
                let _lock = encode_lock;
                encode(&registry, since)
            };
            run_blocking(work).await?
        };
        let bytes = encoded.as_ref().map(|encoded| encoded.bytes.clone());
        if encoded.is_some() {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = encoded;
        }
        Ok(bytes)
    }

    fn cached(&self, app: &SharedApp, since: ListCursor) -> Option<Bytes> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let is_current = last.since == since && last.until == app.registry.online_version(clock::boot_now());
        is_current.then_some(last.bytes)
    }
}

fn encode(registry: &Registry, since: ListCursor) -> Option<EncodedChanges> {
    let OnlineChanges { changes, version, online_count } = registry.changes_since(since.version, clock::boot_now())?;
    let left = changes.left().map(|(username, reason)| ClientLeft {
        username: username.clone(),
        reason: match reason {
            OfflineReason::Timeout => LeftReason::Timeout,
        },
    });
    let changes = ListChanges {
        joined: changes.joined().map(to_client).collect(),
        left: left.collect(),
        moved: changes.moved().map(to_client).collect(),
    };
    let cursor = ListCursor { version, ..since }.to_string();
    let body = DiscoveredChanges { changes, cursor, count: online_count, is_leader: true };
    let bytes = serde_json::to_vec(&body).expect("all keys are strings").into();
    Some(EncodedChanges { since, until: version, bytes })
}
