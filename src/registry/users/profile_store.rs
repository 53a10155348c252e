//! Profiles of users: a lookup checks the index in memory, and reads the bucket if the index does
//! not know the name.
//!
//! Reads of the bucket for clients are a fair pool: profiles, listings of images, and images. It is
//! the one queue before the bucket, and stands where the address of the client is known. The layers
//! below know no addresses, and need none: each of their operations belongs to a holder of this
//! pool, to one of the few uploads that run at once, or to a new registration, which has a rate by
//! address. So no address fills their queues.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use compact_str::CompactString;
use tracing::error;

use super::user_details::UserDetails;
use super::user_index::{IndexEntry, IndexLookup, UserIndex};
use crate::fair_pool::{Claim, Claimant, FairPool, Piece};
use crate::registry::auth::credential_state::CredentialState;
use crate::registry::auth::credentials::Caller;
use crate::registry::error::{LookupError, Overloaded, StorageUnavailable};
use crate::registry::lock::lock;
use crate::storage::{Bucket, Key, ObjectVersion};
use rollcall_core::{BootMs, Profile, Term, Username};

/// Maximum number of concurrent reads of the bucket for clients. Large enough to hide the latency
/// of the bucket. Small enough that requests for invented names cannot overload the bucket.
pub(crate) const MAX_CONCURRENT_READS: usize = 32;

/// Maximum number of reads that wait. All streams of images together have at most 768.
const MAX_WAITING: usize = 1024;

/// Longest wait of a request's read for its turn.
pub(crate) const MAX_READ_WAIT: Duration = Duration::from_secs(2);

/// Result of reading a user's profile from the bucket.
pub(crate) enum StoredProfile {
    /// A valid profile of this user.
    Valid(Profile),
    /// Unreadable, or not a profile of this user.
    Corrupt,
    /// No object.
    Missing,
}

/// The bucket with the profiles, and the index of the profiles that this node knows.
pub(crate) struct ProfileStore {
    bucket: Bucket,
    index: Mutex<UserIndex>,
    reads: FairPool,
}

impl ProfileStore {
    /// The profiles in `bucket`, with an empty index.
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, index: Mutex::default(), reads: FairPool::new(MAX_CONCURRENT_READS, MAX_WAITING) }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Locks the index.
    pub(crate) fn index(&self) -> MutexGuard<'_, UserIndex> {
        lock(&self.index)
    }

    /// The current term.
    pub(crate) fn term(&self) -> Term {
        self.index().term()
    }

    /// Waits for a permit to read from the bucket once for a client, for at most `max_wait`.
    pub(crate) async fn read_permit(&self, client: Claimant<'_>, max_wait: Duration) -> Result<Piece, Overloaded> {
        self.reads.acquire(Claim::fixed(client), max_wait).await.map_err(|_| Overloaded)
    }

    /// The index entry of a registered user. Reads the bucket if the user is not in the index.
    pub(crate) async fn entry(&self, name: &Username, caller: Caller<'_>) -> Result<IndexEntry, LookupError> {
        if let Some(entry) = self.index().entry(name) {
            return Ok(entry);
        }
        self.look_up(name, caller).await?;
        self.indexed_entry(name)
    }

    /// The index entry of a user in the index.
    pub(crate) fn indexed_entry(&self, name: &Username) -> Result<IndexEntry, LookupError> {
        // Rows are never removed, so the error does not happen.
        self.index().entry(name).ok_or_else(|| LookupError::NotRegistered(name.clone()))
    }

    /// The error for a registered user whose profile is missing from the bucket.
    pub(crate) fn missing_error(&self, name: &Username) -> StorageUnavailable {
        self.bucket.vanished(&Key::Profile(name.clone())).into()
    }

    /// The details of a registered user. If the name is not registered, the next lookups of it do
    /// not read the bucket for a short time.
    pub(crate) async fn look_up(&self, name: &Username, caller: Caller<'_>) -> Result<Arc<UserDetails>, LookupError> {
        let now = caller.now;
        if let Some(found) = self.find_in_index(name, now) {
            return found;
        }
        let _permit = self.read_permit(caller.claimant(), MAX_READ_WAIT).await?;
        // Another request may have read the same name meanwhile.
        if let Some(found) = self.find_in_index(name, now) {
            return found;
        }
        let term = self.term();
        match self.read_profile(name).await? {
            StoredProfile::Valid(profile) => Ok(self.add_to_index(profile, term)),
            StoredProfile::Corrupt => Err(LookupError::Corrupt(name.clone())),
            StoredProfile::Missing => {
                self.index().note_missing(name, term, now);
                Err(LookupError::NotRegistered(name.clone()))
            }
        }
    }

    fn find_in_index(&self, name: &Username, now: BootMs) -> Option<Result<Arc<UserDetails>, LookupError>> {
        match self.index().find(name, now) {
            IndexLookup::Found(details) => Some(Ok(details)),
            IndexLookup::NotRegistered => Some(Err(LookupError::NotRegistered(name.clone()))),
            IndexLookup::Unknown => None,
        }
    }

    /// Adds a profile that was read or written in `term` to the index.
    pub(crate) fn add_to_index(&self, profile: Profile, term: Term) -> Arc<UserDetails> {
        let credential = CredentialState::from_profile(&profile, term);
        let name = profile.username.clone();
        self.index().insert(name, UserDetails::from(profile), credential)
    }

    /// Reads a profile from the bucket.
    pub(crate) async fn read_profile(&self, name: &Username) -> Result<StoredProfile, StorageUnavailable> {
        self.read_with_version(name).await.map(|(stored, _)| stored)
    }

    /// Reads a profile and the version of its object. The version is empty if no object could be
    /// read.
    pub(crate) async fn read_with_version(
        &self,
        name: &Username,
    ) -> Result<(StoredProfile, ObjectVersion), StorageUnavailable> {
        let no_version = || ObjectVersion(CompactString::default());
        match self.bucket.get(&Key::Profile(name.clone())).await.map_err(StorageUnavailable::from) {
            Ok(Some(object)) => Ok((self.parse_profile(name, &object.bytes), object.version)),
            Ok(None) => Ok((StoredProfile::Missing, no_version())),
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(name, &error.cause());
                Ok((StoredProfile::Corrupt, no_version()))
            }
            Err(error) => Err(error),
        }
    }

    /// Parses the bytes of a profile. Invalid bytes and the profile of another user are `Corrupt`,
    /// and are logged.
    pub(crate) fn parse_profile(&self, name: &Username, bytes: &[u8]) -> StoredProfile {
        let why = match Profile::decode_of(name, bytes) {
            Ok(profile) => return StoredProfile::Valid(profile),
            Err(why) => why,
        };
        self.report_unreadable(name, &format!("{}: {why}", Key::Profile(name.clone())));
        StoredProfile::Corrupt
    }

    /// Logs that an object of a user is unreadable, once per user. Otherwise every heartbeat of the
    /// user would log it.
    pub(crate) fn report_unreadable(&self, name: &Username, why: &str) {
        if self.index().found_corrupt(name) {
            error!(user = %name, cause = why, "a stored object of the user is unreadable; restore it or move it away");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::registry::Registry;
    use crate::registry::testing::{caller, name, registry, user};
    use crate::storage::Fault;

    const READ: Duration = Duration::from_millis(100);

    fn caller_from(n: u8) -> Caller<'static> {
        Caller { from: IpAddr::from([10, 0, 0, n]), ..caller(BootMs(0)) }
    }

    type Read<'r> = std::pin::Pin<Box<dyn Future<Output = Result<(), LookupError>> + 'r>>;

    /// Reads of names that nobody has, from one address, of which many wait.
    fn flood<'r>(registry: &'r Registry, names: &'r [Username]) -> Vec<Read<'r>> {
        let mut reads: Vec<Read<'_>> = Vec::new();
        for name in names {
            let mut read: Read<'_> = Box::pin(async { registry.images(name, caller_from(1)).await.map(drop) });
            assert!(read.as_mut().now_or_never().is_none(), "the read waits");
            reads.push(read);
        }
        reads
    }

    fn invented() -> Vec<Username> {
        (0..MAX_CONCURRENT_READS * 20).map(|n| name(&format!("nobody-{n}"))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_many_reads_does_not_delay_another_address() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller_from(2)).await.unwrap();
        memory.faults().set_outage(Some(Fault::Delay(READ)));
        let (names, started, before) = (invented(), Instant::now(), memory.faults().calls());
        let reads = flood(&registry, &names);
        assert_eq!(memory.faults().calls() - before, MAX_CONCURRENT_READS);
        // A name that the index does not have, and a repeated registration.
        let flooding = futures_util::future::join_all(reads);
        let victim = async {
            assert!(registry.images(&name("nobody"), caller_from(2)).await.is_err());
            assert!(registry.register(user("alice"), caller_from(2)).await.is_ok());
        };
        tokio::select! {
            () = victim => {}
            _ = flooding => panic!("the flood ended first"),
        }
        assert!(started.elapsed() <= READ * 4, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_registrations_take_a_permit_to_read() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller_from(1)).await.unwrap();
        memory.faults().set_outage(Some(Fault::Delay(READ)));
        let before = memory.faults().calls();
        let mut repeated: Vec<_> = (0..MAX_CONCURRENT_READS + 10)
            .map(|_| Box::pin(registry.register(user("alice"), caller_from(1))))
            .collect();
        assert!(repeated.iter_mut().all(|repeated| repeated.now_or_never().is_none()));
        assert_eq!(memory.faults().calls() - before, MAX_CONCURRENT_READS);
        assert!(futures_util::future::join_all(repeated).await.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_too_long_is_rejected() {
        let (registry, memory) = registry();
        memory.faults().set_outage(Some(Fault::Hang));
        let names = invented();
        let _reads = flood(&registry, &names[..MAX_CONCURRENT_READS]);
        let started = Instant::now();
        let refused = registry.images(&name("bob"), caller_from(2)).await;
        assert!(matches!(refused, Err(LookupError::Overloaded(_))));
        assert_eq!(started.elapsed(), MAX_READ_WAIT);
    }
}
