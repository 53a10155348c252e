//! Check of a real bucket: one step for each operation that Rollcall needs, and a search for
//! profiles that cannot be read.
//!
//! It decides the steps and their order. It prints nothing: it reports each step to its caller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{Backend, Bucket, BucketError, CreateOutcome, Folder, Key, RetryPolicy};
use rollcall_core::{Profile, Username};

/// Number of profiles read at the same time.
const MAX_CONCURRENT_READS: usize = 16;

/// A finished step of a check.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// Short name of the step.
    pub name: &'static str,
    /// Duration of the step.
    pub duration: Duration,
    /// Findings of the step; or the cause of its failure, and the remedy.
    pub result: Result<Findings, String>,
}

/// Objects that do not fail a step, each with its path and the reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Profiles that cannot be read. The registry works without their users.
    pub unreadable: Vec<String>,
    /// Fields of profiles that are not shown to clients.
    pub ignored: Vec<String>,
}

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
}

/// Opens the store. The error is the cause and the remedy.
pub type OpenFuture<'a> = BoxFuture<'a, Result<Arc<dyn Backend>, String>>;

/// Checks the bucket that `open` opens in the step `first_step`, and passes each finished step to
/// `report`. After a failed step only the clean-up follows. `number` names the object that the
/// check writes and deletes. Concurrent checks need different numbers.
pub async fn check_bucket(
    first_step: &'static str,
    open: OpenFuture<'_>,
    policy: RetryPolicy,
    number: u32,
    mut report: impl FnMut(&CheckStep),
) -> CheckOutcome {
    let mut opened = None;
    let open = async {
        opened = Some(Bucket::new(open.await?, policy));
        Ok(Findings::default())
    };
    let is_open = step(first_step, open, &mut report).await.is_some();
    let Some(bucket) = opened.filter(|_| is_open) else { return CheckOutcome::Misconfigured };

    let check =
        BucketCheck { bucket, key: Key::Check(number), bytes: Bytes::from(format!("Rollcall check {number:08x}\n")) };
    // Boxed, because this future is large.
    let profiles = Box::pin(check.all_steps(&mut report)).await;
    // Delete even after a failed write: the write may have taken effect, and only its response was
    // lost.
    let deleted = step("delete", check.delete(), &mut report).await;
    match (profiles, deleted) {
        (Some(findings), Some(_)) => CheckOutcome::Passed { unreadable_profiles: findings.unreadable.len() },
        _ => CheckOutcome::Failed,
    }
}

/// Runs and reports one step. Returns its findings; `None` if it failed.
async fn step(
    name: &'static str,
    work: impl Future<Output = Result<Findings, String>>,
    report: &mut impl FnMut(&CheckStep),
) -> Option<Findings> {
    let start = Instant::now();
    let result = work.await;
    let step = CheckStep { name, duration: start.elapsed(), result };
    report(&step);
    step.result.ok()
}

struct BucketCheck {
    bucket: Bucket,
    key: Key,
    bytes: Bytes,
}

impl BucketCheck {
    /// Runs the steps up to the first failure. Returns the unreadable profiles; `None` if a step
    /// failed.
    async fn all_steps(&self, report: &mut impl FnMut(&CheckStep)) -> Option<Findings> {
        step("write", self.write(), report).await?;
        step("refuse a second write", self.second_write(), report).await?;
        step("read", self.read(), report).await?;
        step("list", self.list(), report).await?;
        step("profiles", self.profiles(), report).await
    }

    async fn write(&self) -> Result<Findings, String> {
        match self.bucket.create(&self.key, self.bytes.clone()).await.map_err(explain)? {
            CreateOutcome::Created(_) => Ok(Findings::default()),
            CreateOutcome::AlreadyExists(_) => {
                Err(format!("{} already exists with other bytes; run the check again", self.key))
            }
        }
    }

    /// The property on which all registrations depend: only one create of an object succeeds.
    async fn second_write(&self) -> Result<Findings, String> {
        match self.bucket.create(&self.key, Bytes::from_static(b"another")).await.map_err(explain)? {
            CreateOutcome::AlreadyExists(found) if found.bytes == self.bytes => Ok(Findings::default()),
            CreateOutcome::AlreadyExists(_) | CreateOutcome::Created(_) => Err(format!(
                "{} was overwritten by a write that must only create; do not use this server, it ignores \
                 ifGenerationMatch",
                self.key
            )),
        }
    }

    async fn read(&self) -> Result<Findings, String> {
        match self.bucket.get(&self.key).await.map_err(explain)? {
            Some(found) if found.bytes == self.bytes => Ok(Findings::default()),
            Some(_) => Err(format!("{} came back with other bytes; look for a proxy that changes responses", self.key)),
            None => Err(self.not_found()),
        }
    }

    async fn list(&self) -> Result<Findings, String> {
        let path = self.key.path();
        let names = self.bucket.list(&Folder::Checks).await.map_err(explain)?;
        let listed = names.iter().any(|name| Folder::Checks.path() + name == path);
        if listed { Ok(Findings::default()) } else { Err(self.not_found()) }
    }

    /// Reads the profile of every user.
    async fn profiles(&self) -> Result<Findings, String> {
        let names = self.bucket.list(&Folder::Users).await.map_err(explain)?;
        let mut reads = stream::iter(names).map(|name| self.profile(name)).buffered(MAX_CONCURRENT_READS);
        let mut findings = Findings::default();
        while let Some(found) = reads.next().await.transpose()? {
            findings.unreadable.extend(found.unreadable);
            findings.ignored.extend(found.ignored);
        }
        Ok(findings)
    }

    async fn profile(&self, name: String) -> Result<Findings, String> {
        let unreadable = |finding: String| Ok(Findings { unreadable: vec![finding], ..Findings::default() });
        let Ok(username) = Username::parse(&name) else {
            return unreadable(format!("{}{name:?}: the name is no username", Folder::Users));
        };
        let key = Key::Profile(username.clone());
        match self.bucket.get(&key).await {
            Ok(None) => Ok(Findings::default()),
            Ok(Some(object)) => match Profile::decode_of(&username, &object.bytes) {
                Ok(profile) => {
                    let ignored = profile.ignored_fields().into_iter().map(|field| format!("{key}: {field}"));
                    Ok(Findings { ignored: ignored.collect(), ..Findings::default() })
                }
                Err(why) => unreadable(format!("{key}: {why}")),
            },
            Err(BucketError::Unreadable { cause, .. }) => unreadable(format!("{key}: {cause}")),
            Err(error) => Err(explain(error)),
        }
    }

    async fn delete(&self) -> Result<Findings, String> {
        let delete = async {
            self.bucket.delete(&self.key).await?;
            self.bucket.get(&self.key).await
        };
        match delete.await {
            Ok(None) => Ok(Findings::default()),
            Ok(Some(_)) => Err(format!("{} is still there; delete it by hand", self.key)),
            Err(error) => Err(format!("{}; then delete {} by hand if it is there", explain(error), self.key)),
        }
    }

    fn not_found(&self) -> String {
        format!("{} was written and is not found; look for a lifecycle rule that deletes objects", self.key)
    }
}

/// The cause and the remedy. Errors of the store itself already name their remedy.
#[expect(clippy::needless_pass_by_value, reason = "this is the last use of the error")]
fn explain(error: BucketError) -> String {
    match error {
        BucketError::Unavailable { .. } | BucketError::Unreadable { .. } | BucketError::Vanished { .. } => {
            error.to_string()
        }
        BucketError::TimedOut { .. } => format!("{error}; check this machine's network, DNS and proxy"),
    }
}
