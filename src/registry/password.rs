//! Hashes and verifies passwords with Argon2id, off the threads that serve requests.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::domain::{Password, PasswordHash};

/// Hashes that are computed at once: each takes 19 MiB and a processor for some ten milliseconds.
const AT_ONCE: usize = 2;

/// A bounded worker for passwords.
pub(super) struct Passwords {
    permits: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// The password, hashed with a fresh salt.
    pub(super) async fn hash(&self, password: Password) -> Result<PasswordHash, String> {
        self.compute(move || {
            Argon2::default()
                .hash_password(password.reveal().as_bytes())
                .map(|hash: phc::PasswordHash| PasswordHash::new(hash.to_string()))
                .map_err(|error| error.to_string())
        })
        .await?
    }

    /// Whether `password` is the one that was hashed to `hash`; an error if `hash` is no hash.
    pub(super) async fn verify(&self, password: Password, hash: PasswordHash) -> Result<bool, String> {
        self.compute(move || {
            let hash = phc::PasswordHash::new(hash.reveal()).map_err(|error| error.to_string())?;
            Ok(Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok())
        })
        .await?
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // The work goes on when the request is dropped, so the permit goes with the work.
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|error| error.to_string())
    }
}
