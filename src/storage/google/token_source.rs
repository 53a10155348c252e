//! Tokens for requests to Google. Google's credentials end for good after some failures, and
//! keep a token that the server refuses. Then this source makes new ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider, anonymous};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::super::BackendError;
use super::credentials_file::CredentialsFile;

/// Shortest time between two replacements because the server refused a token. Replaced credentials
/// leave a task that sleeps for up to an hour, so this bounds the number of these tasks.
const MIN_TIME_BETWEEN_REFUSALS: Duration = Duration::from_secs(10);

/// Source of tokens. Clones share the credentials.
#[derive(Clone, Debug)]
pub(in crate::storage) struct TokenSource {
    /// `None` for an emulator, which needs no token.
    key_file: Option<Arc<CredentialsFile>>,
    current: Arc<Mutex<CurrentCredentials>>,
}

#[derive(Clone, Debug)]
struct CurrentCredentials {
    credentials: Credentials,
    /// The latest replacement because of a refused token.
    refused_at: Option<Instant>,
    /// Number of these credentials, so that concurrent requests replace them once.
    generation: u64,
}

impl TokenSource {
    /// The tokens of a key file. Without a file, there are none.
    ///
    /// # Errors
    /// As [`CredentialsFile::credentials`].
    pub(in crate::storage) fn new(key_file: Option<CredentialsFile>) -> Result<Self, BackendError> {
        let credentials = match &key_file {
            Some(key_file) => key_file.credentials()?,
            None => anonymous::Builder::new().build(),
        };
        let current = CurrentCredentials { credentials, refused_at: None, generation: 0 };
        Ok(Self { key_file: key_file.map(Arc::new), current: Arc::new(Mutex::new(current)) })
    }

    /// Number of the present credentials, for [`Self::refused`].
    pub(in crate::storage) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// The server refused a token of the credentials `generation`.
    pub(in crate::storage) fn refused(&self, generation: u64) {
        let is_frequent = |at: Instant| at.elapsed() < MIN_TIME_BETWEEN_REFUSALS;
        if !self.lock().refused_at.is_some_and(is_frequent) {
            self.replace(generation, Some(Instant::now()));
        }
    }

    /// Replaces the credentials `generation`, unless they are replaced already.
    fn replace(&self, generation: u64, refused_at: Option<Instant>) {
        let Some(key_file) = &self.key_file else { return };
        let mut current = self.lock();
        if current.generation == generation
            && let Ok(credentials) = key_file.credentials()
        {
            let refused_at = refused_at.or(current.refused_at);
            *current = CurrentCredentials { credentials, refused_at, generation: generation + 1 };
        }
    }

    /// The headers with a token.
    pub(in crate::storage) async fn token_headers(&self) -> Result<HeaderMap, CredentialsError> {
        match self.headers(Extensions::new()).await? {
            CacheableResource::New { data, .. } => Ok(data),
            CacheableResource::NotModified => unreachable!("the request named no earlier token"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CurrentCredentials> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Google's client of Cloud Storage gets its tokens from here, too.
impl CredentialsProvider for TokenSource {
    async fn headers(&self, extensions: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let CurrentCredentials { credentials, generation, .. } = self.lock().clone();
        let result = credentials.headers(extensions).await;
        if result.as_ref().is_err_and(|error| !error.is_transient()) {
            // These credentials have given up, and would return this error for good.
            self.replace(generation, None);
        }
        result
    }

    async fn universe_domain(&self) -> Option<String> {
        let credentials = self.lock().credentials.clone();
        credentials.universe_domain().await
    }
}
