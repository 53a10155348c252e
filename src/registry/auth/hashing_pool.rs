//! Pool for Argon2id password hashing, on blocking threads, so that other requests are not delayed.
//!
//! Memory does not grow with load. The pool has one block of memory for each hash that runs at the
//! same time, and uses it again. The jobs that wait are bounded and fair: clients are served in
//! turn, and a client with many jobs loses its place to a client with fewer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash as PhcHash, Salt};
use argon2::password_hash::{self, generate_salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::task::spawn_blocking;

use crate::fair_pool::{Claim, Claimant, FairPool};
use crate::registry::error::AuthError;
use crate::registry::lock::lock;
use rollcall_core::{Password, PasswordHash};

/// Maximum number of hashes computed at the same time. Each takes 19 MiB and about ten milliseconds
/// of CPU time.
const MAX_CONCURRENT: usize = 2;

/// Maximum number of jobs that wait. In a full queue, the last one waits less than a second.
const MAX_QUEUED: usize = 64;

/// Longest wait of a job, for a slow machine.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Pool of hashing jobs with a bounded queue.
pub(super) struct HashingPool {
    workers: FairPool,
    memory: Arc<HashingMemory>,
}

/// Memory that no hash uses at the moment: at most [`MAX_CONCURRENT`] entries. Each is allocated at
/// its first use.
#[derive(Default)]
struct HashingMemory(Mutex<Vec<Vec<Block>>>);

impl Default for HashingPool {
    fn default() -> Self {
        Self { workers: FairPool::new(MAX_CONCURRENT, MAX_QUEUED), memory: Arc::default() }
    }
}

impl HashingPool {
    /// Hashes a password of `client` with a new salt.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] if the queue is full, or if another client needs the place or the
    /// connection.
    pub(super) async fn hash(&self, password: Password, client: Claimant<'_>) -> Result<PasswordHash, AuthError> {
        self.run(client, move |memory| {
            let hash = new_hash(&password, memory).map_err(|error| error.to_string())?;
            Ok(PasswordHash::new(hash.to_string()))
        })
        .await
    }

    /// Whether `password`, which `client` sent, matches `hash`.
    ///
    /// # Errors
    /// Those of [`Self::hash`], and [`AuthError::Hashing`] if `hash` is invalid.
    pub(super) async fn verify(
        &self,
        password: Password,
        hash: PasswordHash,
        client: Claimant<'_>,
    ) -> Result<bool, AuthError> {
        self.run(client, move |memory| matches_hash(&password, &hash, memory)).await
    }

    /// The index of the first of `passwords` that matches `hash`. Together they take one place in
    /// the queue. With a place for each, an overload error for the second password would reveal
    /// that the first one was wrong.
    pub(super) async fn find_match(
        &self,
        passwords: Vec<Password>,
        hash: PasswordHash,
        client: Claimant<'_>,
    ) -> Result<Option<usize>, AuthError> {
        self.run(client, move |memory| {
            for (index, password) in passwords.iter().enumerate() {
                if matches_hash(password, &hash, memory)? {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        client: Claimant<'_>,
        job: impl FnOnce(&mut Vec<Block>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, AuthError> {
        let worker = self.workers.acquire(Claim::fixed(client), MAX_WAIT).await.map_err(|_| AuthError::Overloaded)?;
        let memory = Arc::clone(&self.memory);
        // The job continues if the request is dropped, so it owns the worker.
        let result = spawn_blocking(move || {
            let mut blocks = memory.take();
            let result = job(&mut blocks);
            memory.put_back(blocks);
            drop(worker);
            result
        });
        result.await.unwrap_or_else(|error| Err(error.to_string())).map_err(AuthError::Hashing)
    }
}

impl HashingMemory {
    fn take(&self) -> Vec<Block> {
        lock(&self.0).pop().unwrap_or_default()
    }

    fn put_back(&self, blocks: Vec<Block>) {
        lock(&self.0).push(blocks);
    }
}

fn new_hash(password: &Password, memory: &mut Vec<Block>) -> password_hash::Result<PhcHash> {
    let (algorithm, version, params) = (Algorithm::default(), Version::default(), Params::default());
    let salt = Salt::new(&generate_salt())?;
    let hash = PhcHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(salt),
        hash: None,
    };
    let output = compute(&Argon2::new(algorithm, version, params), password, &salt, memory)?;
    Ok(PhcHash { hash: Some(output), ..hash })
}

/// Whether `password` matches `hash`, which may have other parameters than new hashes.
fn matches_hash(password: &Password, hash: &PasswordHash, memory: &mut Vec<Block>) -> Result<bool, String> {
    let hash = PhcHash::new(hash.reveal()).map_err(|error| error.to_string())?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let computed = argon2_of(&hash).and_then(|argon2| compute(&argon2, password, salt, memory));
    // The comparison of two outputs takes constant time.
    Ok(computed.is_ok_and(|computed| computed == *expected))
}

/// Argon2 with the parameters of a stored hash.
fn argon2_of(hash: &PhcHash) -> password_hash::Result<Argon2<'static>> {
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    Ok(Argon2::new(Algorithm::try_from(hash.algorithm.as_str())?, version, Params::try_from(hash)?))
}

fn compute(
    argon2: &Argon2<'_>,
    password: &Password,
    salt: &[u8],
    memory: &mut Vec<Block>,
) -> password_hash::Result<Output> {
    let needed = argon2.params().block_count();
    // Another program may have stored a hash that needs more. Its memory is not kept.
    let mut larger = Vec::new();
    let blocks = if needed > Params::default().block_count() { &mut larger } else { memory };
    if blocks.len() < needed {
        blocks.resize(needed, Block::default());
    }
    let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password.reveal().as_bytes(), salt, output, &mut blocks[..needed])?;
    Ok(Output::new(output)?)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};
    use futures_util::FutureExt;

    use super::*;
    use rollcall_core::AddressBlock;
    use tokio_util::sync::CancellationToken;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    fn client(n: u8) -> Claimant<'static> {
        AddressBlock::of([10, 0, 0, n].into()).into()
    }

    /// Takes both workers, so that no job runs.
    async fn stop_workers(passwords: &HashingPool) -> Vec<crate::fair_pool::Piece> {
        let claim = Claim::fixed(client(9)).units(MAX_CONCURRENT);
        vec![passwords.workers.acquire(claim, MAX_WAIT).await.unwrap()]
    }

    #[tokio::test]
    async fn a_full_queue_rejects_the_next_job_at_once_and_completes_the_others() {
        let passwords = HashingPool::default();
        let hash = passwords.hash(password("right"), client(1)).await.unwrap();
        let held = stop_workers(&passwords).await;
        let verify = |text| Box::pin(passwords.verify(password(text), hash.clone(), client(1)));
        let mut waiting: Vec<_> = (0..MAX_QUEUED).map(|_| verify("right")).collect();
        assert!(waiting.iter_mut().all(|verify| verify.now_or_never().is_none()));
        assert!(matches!(verify("right").now_or_never(), Some(Err(AuthError::Overloaded))));
        // A dropped request frees its place, and the remaining ones complete.
        waiting.truncate(2);
        drop(held);
        for verify in waiting {
            assert!(verify.await.unwrap());
        }
        assert!(!verify("wrong").await.unwrap());
        assert_eq!(passwords.workers.free(), MAX_CONCURRENT);
    }

    #[tokio::test]
    async fn a_client_with_many_jobs_loses_a_place_to_a_client_with_fewer_and_does_not_delay_it() {
        let passwords = HashingPool::default();
        let hash = passwords.hash(password("right"), client(1)).await.unwrap();
        let held = stop_workers(&passwords).await;
        let verify = |n| Box::pin(passwords.verify(password("right"), hash.clone(), client(n)));
        let mut flood: Vec<_> = (0..MAX_QUEUED).map(|_| verify(1)).collect();
        assert!(flood.iter_mut().all(|verify| verify.now_or_never().is_none()));
        let mut other = verify(2);
        assert!((&mut other).now_or_never().is_none());
        let is_rejected = |verify: &mut _| matches!(FutureExt::now_or_never(verify), Some(Err(AuthError::Overloaded)));
        assert_eq!(flood.iter_mut().filter_map(|verify| is_rejected(verify).then_some(())).count(), 1);
        drop(held);
        // The first job of the flood is rejected already, and must not be polled again.
        let others: Vec<_> = flood.into_iter().skip(1).collect();
        let ended = futures_util::future::select(other, Box::pin(futures_util::future::join_all(others))).await;
        assert!(matches!(ended, futures_util::future::Either::Left((Ok(true), _))));
    }

    #[tokio::test]
    async fn a_job_whose_connection_is_displaced_leaves_the_queue_at_once() {
        let passwords = HashingPool::default();
        let held = stop_workers(&passwords).await;
        let connection = CancellationToken::new();
        let client = Claimant { connection: Some(&connection), ..client(1) };
        let mut waiting = Box::pin(passwords.hash(password("x"), client));
        assert!((&mut waiting).now_or_never().is_none());
        connection.cancel();
        assert!(matches!(waiting.now_or_never(), Some(Err(AuthError::Overloaded))));
        drop(held);
        assert_eq!(passwords.workers.free(), MAX_CONCURRENT);
    }

    #[tokio::test]
    async fn two_blocks_of_memory_are_enough_for_any_number_of_jobs() {
        let passwords = HashingPool::default();
        let jobs = (0..6).map(|n| passwords.hash(password("x"), client(n)));
        assert!(futures_util::future::join_all(jobs).await.iter().all(Result::is_ok));
        let blocks: Vec<usize> = lock(&passwords.memory.0).iter().map(Vec::len).collect();
        assert!((1..=MAX_CONCURRENT).contains(&blocks.len()), "{blocks:?}");
        assert!(blocks.iter().all(|blocks| *blocks == Params::default().block_count()), "{blocks:?}");
    }

    #[tokio::test]
    async fn hashes_agree_with_those_of_the_library() {
        let passwords = HashingPool::default();
        let ours = passwords.hash(password("right"), client(1)).await.unwrap();
        let parsed = PhcHash::new(ours.reveal()).unwrap();
        assert!(Argon2::default().verify_password(b"right", &parsed).is_ok());
        // A hash of other parameters, which needs more memory than a new one.
        let params = Params::new(32 * 1024, 1, 1, None).unwrap();
        let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(b"right").unwrap();
        let theirs = PasswordHash::new(PhcHash::to_string(&theirs));
        for (text, is_right) in [("right", true), ("wrong", false)] {
            assert_eq!(passwords.verify(password(text), theirs.clone(), client(1)).await.unwrap(), is_right);
        }
        assert!(lock(&passwords.memory.0).iter().all(|blocks| blocks.len() <= Params::default().block_count()));
    }

    #[tokio::test]
    async fn find_match_returns_the_first_match_and_takes_one_place() {
        let passwords = HashingPool::default();
        let hash = passwords.hash(password("right"), client(1)).await.unwrap();
        for (tried, right) in [(["right", "right"], Some(0)), (["wrong", "right"], Some(1)), (["wrong", "Right"], None)]
        {
            let held = stop_workers(&passwords).await;
            let places = (1..MAX_QUEUED).map(|_| passwords.workers.request(Claim::fixed(client(1))));
            let others: Vec<_> = places.collect();
            let find_match = passwords.find_match(tried.map(password).to_vec(), hash.clone(), client(1));
            let mut find_match = Box::pin(find_match);
            assert!((&mut find_match).now_or_never().is_none());
            drop((others, held));
            assert_eq!(find_match.await.unwrap(), right, "{tried:?}");
        }
    }

    #[tokio::test]
    async fn an_invalid_hash_is_an_error_and_not_a_wrong_password() {
        let torn = PasswordHash::new("torn".into());
        let verified = HashingPool::default().verify(password("x"), torn, client(1)).await;
        assert!(matches!(verified, Err(AuthError::Hashing(_))));
    }
}
