//! Check of a real bucket: one step for each operation that Rollcall needs, and a search for
//! profiles that cannot be read.
//!
//! It decides the steps and their order. It prints nothing: it reports each step to its caller.

mod explanation;
mod profile_search;
mod secrets_exposure;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::explanation::{explain, explain_precondition, not_found};
use self::profile_search::search_profiles;
use self::secrets_exposure::find_exposure;
use self::steps::Steps;
use super::precondition_check::{REMEDY, race_creates, race_replacements};
use super::{Backend, Bucket, CreateOutcome, Folder, Key, ObjectVersion, RetryPolicy, StoreProbe};

pub use steps::{CheckStep, Findings};

/// Names per page in the step that lists over a page border. Less than the number of objects of a
/// check, so that there is a border.
const CHECK_PAGE_SIZE: usize = 2;

/// Remedy for a listing that is not whole.
const PAGING_REMEDY: &str = "do not use this store: a node could not list all users";

/// Outcome of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckOutcome {
    /// All steps succeeded.
    Passed {
        /// Number of profiles that cannot be read. The registry works without their users.
        unreadable_profiles: usize,
    },
    /// The store could not be opened: its name, its directory or its credentials are invalid. No
    /// request was sent.
    Misconfigured,
    /// The bucket could not be reached, refused a request, or behaved incorrectly.
    Failed,
    /// The caller stopped the check before its last step. No step failed.
    Stopped,
}

/// Result of the opening of a store. The error is the cause and the remedy.
pub type OpenFuture<'a> = BoxFuture<'a, Result<Arc<dyn Backend>, OpenError>>;

/// The reason why a store cannot be opened, with the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// The settings or the store must be corrected.
    Misconfigured(String),
    /// The store gave no usable answer.
    Unreachable(String),
}

/// Checks the bucket that `open` opens, and passes each finished step to `report`. `open` gets the
/// number of names per page; `None` is the default of the store.
///
/// After a failed step and after a cancelled `stop` only the clean-up follows. `number` names the
/// objects that the check writes and deletes. Concurrent checks need different random numbers.
pub async fn check_bucket<'a>(
    open: impl Fn(Option<usize>) -> OpenFuture<'a>,
    policy: RetryPolicy,
    number: u32,
    stop: &CancellationToken,
    report: impl FnMut(&CheckStep),
) -> CheckOutcome {
    let mut steps = Steps::new(stop, report);
    let (mut opened, mut is_misconfigured) = (None, false);
    let reach = async {
        let mut open_store = async |page_size| {
            open(page_size).await.map_err(|error| match error {
                OpenError::Misconfigured(text) => {
                    is_misconfigured = true;
                    text
                }
                OpenError::Unreachable(text) => text,
            })
        };
        // Paging is checked with few objects by a second client with small pages. The other steps
        // use the pages that a node uses.
        let bucket = Bucket::new(open_store(None).await?, policy);
        let small_pages = Bucket::new(open_store(Some(CHECK_PAGE_SIZE)).await?, policy);
        let (bucket, _) = opened.insert((bucket, small_pages));
        // An unused bucket does not have this object. The answer shows whether there is a bucket.
        bucket.get(&Key::Cluster).await.map_err(explain)?;
        Ok(Findings::default())
    };
    let is_reached = steps.run_unless_stopped("reach", reach).await.is_some();
    match opened {
        Some((bucket, small_pages)) if is_reached => {
            let check = BucketCheck::new(bucket, small_pages, number);
            // Boxed, because this future is large.
            let findings = Box::pin(check.all_steps(&mut steps)).await;
            // Delete even after a failed write: the write may have taken effect, and only its
            // response was lost.
            let deleted = steps.run("delete", check.delete()).await;
            match (findings, deleted) {
                (Some(findings), Some(_)) => CheckOutcome::Passed { unreadable_profiles: findings.unreadable.len() },
                _ => failed_or_stopped(steps.has_failed()),
            }
        }
        None if is_misconfigured => CheckOutcome::Misconfigured,
        Some(_) | None => failed_or_stopped(steps.has_failed()),
    }
}

/// The outcome of a check whose last step did not run, or failed.
fn failed_or_stopped(has_failed: bool) -> CheckOutcome {
    if has_failed { CheckOutcome::Failed } else { CheckOutcome::Stopped }
}

/// The objects of a check, and the operations on them.
struct BucketCheck {
    bucket: Bucket,
    /// The same bucket, listed in pages of [`CHECK_PAGE_SIZE`].
    small_pages: Bucket,
    /// The object that is created and replaced.
    first: Key,
    /// The object that concurrent creates race for.
    contested: Key,
    /// The object that is listed and read.
    last: Key,
    /// The object of the probe, which deletes it.
    probed: Key,
    bytes: Bytes,
}

impl BucketCheck {
    fn new(bucket: Bucket, small_pages: Bucket, number: u32) -> Self {
        let [first, contested, last, probed] = [0, 1, 2, 3].map(|offset| Key::Check(number.wrapping_add(offset)));
        let bytes = Bytes::from(format!("Rollcall check {number:08x}\n"));
        Self { bucket, small_pages, first, contested, last, probed, bytes }
    }

    /// Runs the steps up to the first failure. Returns the unreadable profiles; `None` if a step
    /// failed or the check was stopped.
    async fn all_steps<R: FnMut(&CheckStep)>(&self, steps: &mut Steps<'_, R>) -> Option<Findings> {
        if let Some(probe) = self.bucket.probe() {
            steps.run_write("open questions", self.open_questions(probe)).await?;
        }
        steps.run_write("write", self.create(&self.first)).await?;
        steps.run_write("refuse a second create", self.second_create()).await?;
        steps.run_write("race of creates", self.race_of_creates()).await?;
        steps.run_write("replace", self.replace()).await?;
        steps.run_write("refuse a stale replace", self.stale_replace()).await?;
        steps.run_write("list over a page border", self.list()).await?;
        steps.run_unless_stopped("read", self.read()).await?;
        if let Some(anonymous) = self.bucket.anonymous_reader() {
            steps.run_unless_stopped("read without credentials", find_exposure(&self.bucket, anonymous)).await?;
        }
        steps.run_unless_stopped("profiles", self.profiles()).await
    }

    /// Comes first, because its errors say more about such a store than those of the other steps.
    async fn open_questions(&self, probe: &dyn StoreProbe) -> Result<Findings, String> {
        let facts = probe.find_facts(&self.probed).await.map_err(|error| error.to_string())?;
        Ok(Findings { facts, ..Findings::default() })
    }

    async fn create(&self, key: &Key) -> Result<Findings, String> {
        match self.bucket.create(key, self.bytes.clone()).await.map_err(explain)? {
            CreateOutcome::Created(_) => Ok(Findings::default()),
            CreateOutcome::AlreadyExists(_) => {
                Err(format!("{key} already exists with other bytes; run the check again"))
            }
        }
    }

    /// The property on which all registrations depend: only one create of an object succeeds.
    async fn second_create(&self) -> Result<Findings, String> {
        match self.bucket.create(&self.first, Bytes::from_static(b"another")).await.map_err(explain)? {
            CreateOutcome::AlreadyExists(found) if found.bytes == self.bytes => Ok(Findings::default()),
            CreateOutcome::AlreadyExists(_) | CreateOutcome::Created(_) => {
                Err(format!("{} was overwritten by a write that must only create; {REMEDY}", self.first))
            }
        }
    }

    async fn race_of_creates(&self) -> Result<Findings, String> {
        race_creates(&self.bucket, &self.contested).await.map_err(explain_precondition)?;
        Ok(Findings::default())
    }

    async fn replace(&self) -> Result<Findings, String> {
        let (key, version) = (&self.first, self.version_of_first().await?);
        match self.bucket.replace_if(key, &version, Bytes::from_static(b"replaced\n")).await.map_err(explain)? {
            Some(new) if new != version => Ok(Findings::default()),
            Some(_) => Err(format!("{key} was replaced and kept its version; {REMEDY}")),
            None => Err(format!("{key} has the version that was read and cannot be replaced; {REMEDY}")),
        }
    }

    /// Of two replacements of one version one succeeds. Afterwards that version is stale.
    async fn stale_replace(&self) -> Result<Findings, String> {
        let (key, version) = (&self.first, self.version_of_first().await?);
        race_replacements(&self.bucket, key, &version).await.map_err(explain_precondition)?;
        match self.bucket.replace_if(key, &version, Bytes::from_static(b"stale\n")).await.map_err(explain)? {
            None => Ok(Findings::default()),
            Some(_) => Err(format!("{key} was replaced although it had another version; {REMEDY}")),
        }
    }

    async fn version_of_first(&self) -> Result<ObjectVersion, String> {
        let found = self.bucket.get(&self.first).await.map_err(explain)?;
        found.map(|object| object.version).ok_or_else(|| not_found(&self.first))
    }

    /// Lists more objects than a page has. Every object must be listed once.
    async fn list(&self) -> Result<Findings, String> {
        self.create(&self.last).await?;
        let listing = self.small_pages.list_pages(&Folder::Checks).try_collect::<Vec<_>>();
        let pages = listing.await.map_err(explain)?;
        let mut listed: BTreeMap<String, u32> = BTreeMap::new();
        for name in pages.iter().flatten() {
            *listed.entry(Folder::Checks.path() + name).or_default() += 1;
        }
        for key in self.keys() {
            match listed.get(&key.path()) {
                Some(1) => {}
                Some(_) => return Err(format!("{key} is listed on two pages; {PAGING_REMEDY}")),
                None => return Err(format!("{}, or {PAGING_REMEDY}", not_found(key))),
            }
        }
        if pages.len() < 2 {
            return Err(format!(
                "{} objects were listed on one page, although a page was to have {CHECK_PAGE_SIZE}; {PAGING_REMEDY}",
                listed.len()
            ));
        }
        Ok(Findings::default())
    }

    async fn read(&self) -> Result<Findings, String> {
        match self.bucket.get(&self.last).await.map_err(explain)? {
            Some(found) if found.bytes == self.bytes => Ok(Findings::default()),
            Some(_) => {
                Err(format!("{} came back with other bytes; look for a proxy that changes responses", self.last))
            }
            None => Err(not_found(&self.last)),
        }
    }

    async fn profiles(&self) -> Result<Findings, String> {
        search_profiles(&self.bucket).await.map_err(explain)
    }

    /// Deletes all objects of the check, also those that it may not have created. The error names
    /// the objects that are left.
    async fn delete(&self) -> Result<Findings, String> {
        let (mut left, mut cause) = (Vec::new(), None);
        for key in self.keys() {
            let delete = async {
                self.bucket.delete(key).await?;
                self.bucket.get(key).await
            };
            match delete.await {
                Ok(None) => {}
                Ok(Some(_)) => left.push(key.path()),
                Err(error) => {
                    left.push(key.path());
                    cause = Some(explain(error));
                }
            }
        }
        let cause = cause.unwrap_or_else(|| "objects that were deleted are still there".to_owned());
        if left.is_empty() {
            Ok(Findings::default())
        } else {
            Err(format!("{cause}; then delete {} by hand", left.join(", ")))
        }
    }

    fn keys(&self) -> [&Key; 3] {
        [&self.first, &self.contested, &self.last]
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::storage::{BackendError, Fault, ListPage, MemoryBackend, Object};

    /// A store that loses the first name of every page but the first.
    struct LosesNames(MemoryBackend);

    #[async_trait]
    impl Backend for LosesNames {
        async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
            self.0.create(key, bytes).await
        }

        async fn replace_if(&self, key: &Key, old: &ObjectVersion, new: Bytes) -> Result<ObjectVersion, BackendError> {
            self.0.replace_if(key, old, new).await
        }

        async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
            self.0.get(key).await
        }

        async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
            let mut listed = self.0.list(folder, page).await?;
            if page.is_some() {
                listed.children.remove(0);
            }
            Ok(listed)
        }

        async fn delete(&self, key: &Key) -> Result<(), BackendError> {
            self.0.delete(key).await
        }

        fn describe(&self) -> String {
            self.0.describe()
        }
    }

    /// Runs a check, and returns the outcome with the names and errors of the steps. The check is
    /// stopped after the step `last`.
    async fn check(
        open: impl Fn(usize) -> Arc<dyn Backend>,
        last: &str,
    ) -> (CheckOutcome, Vec<(&'static str, Option<String>)>) {
        let (stop, mut steps) = (CancellationToken::new(), Vec::new());
        let open = |page_size: Option<usize>| -> OpenFuture<'_> {
            let backend = open(page_size.unwrap_or(1000));
            Box::pin(async move { Ok(backend) })
        };
        let outcome = check_bucket(open, RetryPolicy::default(), 7, &stop, |step| {
            steps.push((step.name, step.result.clone().err()));
            if step.name == last {
                stop.cancel();
            }
        })
        .await;
        (outcome, steps)
    }

    #[tokio::test]
    async fn a_store_that_loses_a_name_at_a_page_border_fails() {
        let store = MemoryBackend::new();
        let (outcome, steps) =
            check(|page_size| Arc::new(LosesNames(store.clone().with_page_size(page_size))), "").await;
        assert_eq!(outcome, CheckOutcome::Failed);
        let [.., (name, Some(error)), ("delete", None)] = steps.as_slice() else { panic!("{steps:?}") };
        assert!(*name == "list over a page border" && error.contains("checks/00000009.txt"), "{error}");
        assert_eq!(store.paths(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_is_misconfigured_or_unreachable() {
        for (error, expected) in [
            (OpenError::Misconfigured("wrong name".to_owned()), CheckOutcome::Misconfigured),
            (OpenError::Unreachable("no answer".to_owned()), CheckOutcome::Failed),
        ] {
            let open = |_| -> OpenFuture<'_> {
                let error = error.clone();
                Box::pin(async move { Err(error) })
            };
            let mut steps = 0;
            let stop = CancellationToken::new();
            let outcome = check_bucket(open, RetryPolicy::default(), 7, &stop, |_| steps += 1).await;
            assert_eq!((outcome, steps), (expected, 1));
        }
    }

    #[tokio::test]
    async fn a_store_that_shows_no_page_border_fails() {
        let store = MemoryBackend::new();
        let (outcome, steps) = check(|_| Arc::new(store.clone()), "").await;
        assert_eq!(outcome, CheckOutcome::Failed);
        let [.., (_, Some(error)), ("delete", None)] = steps.as_slice() else { panic!("{steps:?}") };
        assert!(error.starts_with("3 objects were listed on one page"), "{error}");
    }

    #[tokio::test]
    async fn a_stopped_check_starts_no_step_but_the_clean_up() {
        let store = MemoryBackend::new();
        let open = |page_size| -> Arc<dyn Backend> { Arc::new(store.clone().with_page_size(page_size)) };
        let (outcome, all) = check(open, "").await;
        assert_eq!((outcome, all.len()), (CheckOutcome::Passed { unreadable_profiles: 0 }, 10));
        for index in 0..8 {
            let (outcome, steps) = check(open, all[index].0).await;
            assert_eq!(outcome, CheckOutcome::Stopped);
            assert_eq!(steps, [&all[..=index], &all[9..]].concat());
            assert_eq!(store.paths(), Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn a_failed_step_counts_more_than_a_later_stop() {
        let store = MemoryBackend::new();
        store.faults().inject(1, &Fault::None);
        store.faults().inject(1, &Fault::Permanent);
        let (outcome, steps) = check(|_| Arc::new(store.clone()), "write").await;
        assert_eq!(outcome, CheckOutcome::Failed, "{steps:?}");
    }
}
