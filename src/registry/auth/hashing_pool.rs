//! Bounded pool for Argon2id password hashing, on blocking threads, so that other requests are not
//! delayed.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::registry::error::AuthError;
use rollcall_core::{Password, PasswordHash};

/// Maximum number of hashes computed at the same time. Each takes 19 MiB and about ten milliseconds
/// of CPU time.
const MAX_CONCURRENT: usize = 2;

/// Maximum number of hashes that run or wait. In a full queue, the last one waits less than a
/// second.
const MAX_QUEUED: usize = 64;

/// Pool of hashing jobs with a bounded queue.
pub(super) struct HashingPool {
    queue_slots: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

impl Default for HashingPool {
    fn default() -> Self {
        Self { queue_slots: Arc::new(Semaphore::new(MAX_QUEUED)), workers: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl HashingPool {
    /// Hashes a password with a new salt.
    pub(super) async fn hash(&self, password: Password) -> Result<PasswordHash, AuthError> {
        self.run(move || {
            Argon2::default()
                .hash_password(password.reveal().as_bytes())
                .map(|hash: phc::PasswordHash| PasswordHash::new(hash.to_string()))
                .map_err(|error| error.to_string())
        })
        .await
    }

    /// Whether `password` matches `hash`.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] if the queue is full, [`AuthError::Hashing`] if `hash` is invalid.
    pub(super) async fn verify(&self, password: Password, hash: PasswordHash) -> Result<bool, AuthError> {
        self.run(move || matches_hash(&password, &hash)).await
    }

    /// The index of the first of `passwords` that matches `hash`. Together they take one queue
    /// slot. With a slot for each, an overload error for the second password would reveal that the
    /// first one was wrong.
    pub(super) async fn find_match(
        &self,
        passwords: Vec<Password>,
        hash: PasswordHash,
    ) -> Result<Option<usize>, AuthError> {
        self.run(move || {
            for (index, password) in passwords.iter().enumerate() {
                if matches_hash(password, &hash)? {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, AuthError> {
        let queue_slot = Arc::clone(&self.queue_slots).try_acquire_owned().map_err(|_| AuthError::Overloaded)?;
        let permit = Arc::clone(&self.workers).acquire_owned().await.expect("the semaphore is never closed");
        // The job continues if the request is dropped, so it owns the permit.
        let result = spawn_blocking(move || {
            let result = job();
            drop((permit, queue_slot));
            result
        });
        result.await.unwrap_or_else(|error| Err(error.to_string())).map_err(AuthError::Hashing)
    }
}

/// Whether `password` matches `hash`.
fn matches_hash(password: &Password, hash: &PasswordHash) -> Result<bool, String> {
    let hash = phc::PasswordHash::new(hash.reveal()).map_err(|error| error.to_string())?;
    Ok(Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_full_queue_rejects_the_next_job_at_once_and_completes_the_others() {
        let passwords = HashingPool::default();
        let hash = passwords.hash(password("right")).await.unwrap();
        // While the test holds these permits, no job runs.
        let held = passwords.workers.acquire_many(2).await.unwrap();
        let mut waiting: Vec<_> =
            (0..MAX_QUEUED).map(|_| Box::pin(passwords.verify(password("right"), hash.clone()))).collect();
        assert!(waiting.iter_mut().all(|verify| verify.now_or_never().is_none()));
        let rejected = passwords.verify(password("right"), hash.clone()).now_or_never();
        assert!(matches!(rejected, Some(Err(AuthError::Overloaded))));
        // A dropped request frees its slot, and the remaining ones complete.
        waiting.truncate(2);
        drop(held);
        for verify in waiting {
            assert!(verify.await.unwrap());
        }
        assert!(!passwords.verify(password("wrong"), hash).await.unwrap());
        assert_eq!(
            (passwords.queue_slots.available_permits(), passwords.workers.available_permits()),
            (MAX_QUEUED, MAX_CONCURRENT)
        );
    }

    #[tokio::test]
    async fn find_match_returns_the_first_match_and_takes_one_queue_slot() {
        let passwords = HashingPool::default();
        let hash = passwords.hash(password("right")).await.unwrap();
        // The test holds all other slots.
        let _others = passwords.queue_slots.acquire_many(63).await.unwrap();
        for (tried, right) in [(["right", "right"], Some(0)), (["wrong", "right"], Some(1)), (["wrong", "Right"], None)]
        {
            let find_match = passwords.find_match(tried.map(password).to_vec(), hash.clone()).await;
            assert_eq!(find_match.unwrap(), right, "{tried:?}");
        }
    }

    #[tokio::test]
    async fn an_invalid_hash_is_an_error_and_not_a_wrong_password() {
        let verified = HashingPool::default().verify(password("x"), PasswordHash::new("torn".into())).await;
        assert!(matches!(verified, Err(AuthError::Hashing(_))));
    }
}
