//! A check of a real bucket, step by step: does everything that Rollcall needs of it work?
//!
//! It knows what is done in which order, and nothing of screens: each step is reported as it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Bucket, BucketError, CreateOutcome, Folder, GcsBackend, GcsConfig, Key, RetryPolicy};

/// One step of a check, done.
#[derive(Clone, Debug)]
pub struct CheckStep {
    /// What was tried, in a few words.
    pub name: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// Whether it worked; if not, why, and what to do about it.
    pub result: Result<(), String>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckOutcome {
    /// All steps worked.
    Passed,
    /// The bucket's name or the credentials are wrong on this side already; nothing was sent.
    Misconfigured,
    /// The bucket could not be reached, refused, or did something else than it should.
    Failed,
}

/// Checks the bucket of `config`, and tells each step to `show` as it ends. After a step that failed only the clean-up
/// is done. `number` names the object that is written and deleted again; two checks at once need two numbers.
pub async fn check_bucket(
    config: GcsConfig,
    policy: RetryPolicy,
    number: u32,
    mut show: impl FnMut(&CheckStep),
) -> CheckOutcome {
    let mut connected = None;
    let connect = async {
        let gcs = GcsBackend::connect(config).await.map_err(|error| error.to_string())?;
        connected = Some(Bucket::new(Arc::new(gcs), policy));
        Ok(())
    };
    let credentials_fit = step("credentials", connect, &mut show).await;
    let Some(bucket) = connected.filter(|_| credentials_fit) else { return CheckOutcome::Misconfigured };

    let check =
        BucketCheck { bucket, key: Key::Check(number), bytes: Bytes::from(format!("Rollcall check {number:08x}\n")) };
    let all_worked = step("write", check.write(), &mut show).await
        && step("refuse a second write", check.refuse(), &mut show).await
        && step("read", check.read(), &mut show).await
        && step("list", check.list(), &mut show).await;
    // Also after a write that failed: it may have taken effect although its answer was lost.
    let cleaned_up = step("delete", check.delete(), &mut show).await;
    if all_worked && cleaned_up { CheckOutcome::Passed } else { CheckOutcome::Failed }
}

async fn step(
    name: &'static str,
    work: impl Future<Output = Result<(), String>>,
    show: &mut impl FnMut(&CheckStep),
) -> bool {
    let start = Instant::now();
    let result = work.await;
    let step = CheckStep { name, duration: start.elapsed(), result };
    show(&step);
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
                Err(format!("{} is there already with other bytes; run the check again", self.key))
            }
        }
    }

    /// The rule that everything rests on: a name is won once.
    async fn refuse(&self) -> Result<(), String> {
        match self.bucket.create(&self.key, Bytes::from_static(b"another")).await.map_err(explain)? {
            CreateOutcome::AlreadyExists(found) if found.bytes == self.bytes => Ok(()),
            CreateOutcome::AlreadyExists(_) | CreateOutcome::Created(_) => Err(format!(
                "{} was overwritten by a write that must only create; do not use this server, it does not keep \
                 ifGenerationMatch",
                self.key
            )),
        }
    }

    async fn read(&self) -> Result<(), String> {
        match self.bucket.get(&self.key).await.map_err(explain)? {
            Some(found) if found.bytes == self.bytes => Ok(()),
            Some(_) => Err(format!("{} came back with other bytes; look for a proxy that changes answers", self.key)),
            None => Err(self.vanished()),
        }
    }

    async fn list(&self) -> Result<(), String> {
        let path = self.key.path();
        let names = self.bucket.list(&Folder::Checks).await.map_err(explain)?;
        let listed = names.iter().any(|name| Folder::Checks.path() + name == path);
        if listed { Ok(()) } else { Err(self.vanished()) }
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

    fn vanished(&self) -> String {
        format!("{} was written and is not found; look for a lifecycle rule that deletes objects", self.key)
    }
}

/// The cause and the remedy; what the store itself says names its remedy already.
#[expect(clippy::needless_pass_by_value, reason = "it is the last use of the error")]
fn explain(error: BucketError) -> String {
    match error {
        BucketError::Unavailable { .. } | BucketError::Unreadable { .. } | BucketError::Vanished { .. } => {
            error.to_string()
        }
        BucketError::TimedOut { .. } => format!("{error}; check this machine's network, DNS and proxy"),
    }
}
