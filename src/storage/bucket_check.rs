//! Check of a real bucket: one step for each operation that Rollcall needs.
//!
//! It decides the steps and their order. It prints nothing: it reports each step to its caller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Bucket, BucketError, CreateOutcome, Folder, GcsBackend, GcsConfig, Key, RetryPolicy};

/// A finished step of a check.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// Short name of the step.
    pub name: &'static str,
    /// Duration of the step.
    pub duration: Duration,
    /// Success, or the cause of the failure and the remedy.
    pub result: Result<(), String>,
}

/// Outcome of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckOutcome {
    /// All steps succeeded.
    Passed,
    /// The bucket's name or the credentials file is invalid. No request was sent.
    Misconfigured,
    /// The bucket could not be reached, refused a request, or behaved incorrectly.
    Failed,
}

/// Checks the bucket of `config`, and passes each finished step to `report`. After a failed step
/// only the clean-up follows. `number` names the object that the check writes and deletes.
/// Concurrent checks need different numbers.
pub async fn check_bucket(
    config: GcsConfig,
    policy: RetryPolicy,
    number: u32,
    mut report: impl FnMut(&CheckStep),
) -> CheckOutcome {
    let mut connected = None;
    let connect = async {
        let gcs = GcsBackend::connect(config).await.map_err(|error| error.to_string())?;
        connected = Some(Bucket::new(Arc::new(gcs), policy));
        Ok(())
    };
    let has_credentials = step("credentials", connect, &mut report).await;
    let Some(bucket) = connected.filter(|_| has_credentials) else { return CheckOutcome::Misconfigured };

    let check =
        BucketCheck { bucket, key: Key::Check(number), bytes: Bytes::from(format!("Rollcall check {number:08x}\n")) };
    let all_succeeded = step("write", check.write(), &mut report).await
        && step("refuse a second write", check.second_write(), &mut report).await
        && step("read", check.read(), &mut report).await
        && step("list", check.list(), &mut report).await;
    // Delete even after a failed write: the write may have taken effect, and only its response was
    // lost.
    let is_cleaned_up = step("delete", check.delete(), &mut report).await;
    if all_succeeded && is_cleaned_up { CheckOutcome::Passed } else { CheckOutcome::Failed }
}

/// Runs and reports one step. Returns whether it succeeded.
async fn step(
    name: &'static str,
    work: impl Future<Output = Result<(), String>>,
    report: &mut impl FnMut(&CheckStep),
) -> bool {
    let start = Instant::now();
    let result = work.await;
    let step = CheckStep { name, duration: start.elapsed(), result };
    report(&step);
    step.result.is_ok()
}

struct BucketCheck {
    bucket: Bucket,
    key: Key,
    bytes: Bytes,
}

impl BucketCheck {
    async fn write(&self) -> Result<(), String> {
        match self.bucket.create(&self.key, self.bytes.clone()).await.map_err(explain)? {
            CreateOutcome::Created(_) => Ok(()),
            CreateOutcome::AlreadyExists(_) => {
                Err(format!("{} already exists with other bytes; run the check again", self.key))
            }
        }
    }

    /// The property on which all registrations depend: only one create of an object succeeds.
    async fn second_write(&self) -> Result<(), String> {
        match self.bucket.create(&self.key, Bytes::from_static(b"another")).await.map_err(explain)? {
            CreateOutcome::AlreadyExists(found) if found.bytes == self.bytes => Ok(()),
            CreateOutcome::AlreadyExists(_) | CreateOutcome::Created(_) => Err(format!(
                "{} was overwritten by a write that must only create; do not use this server, it ignores \
                 ifGenerationMatch",
                self.key
            )),
        }
    }

    async fn read(&self) -> Result<(), String> {
        match self.bucket.get(&self.key).await.map_err(explain)? {
            Some(found) if found.bytes == self.bytes => Ok(()),
            Some(_) => Err(format!("{} came back with other bytes; look for a proxy that changes responses", self.key)),
            None => Err(self.not_found()),
        }
    }

    async fn list(&self) -> Result<(), String> {
        let path = self.key.path();
        let names = self.bucket.list(&Folder::Checks).await.map_err(explain)?;
        let listed = names.iter().any(|name| Folder::Checks.path() + name == path);
        if listed { Ok(()) } else { Err(self.not_found()) }
    }

    async fn delete(&self) -> Result<(), String> {
        let delete = async {
            self.bucket.delete(&self.key).await?;
            self.bucket.get(&self.key).await
        };
        match delete.await {
            Ok(None) => Ok(()),
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
