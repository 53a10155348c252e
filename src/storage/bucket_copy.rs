//! Copy of all users and images from one bucket to another.
//!
//! The copy only adds: it creates what the target does not have, and replaces a profile by a later
//! version of itself. So it can be interrupted and repeated. It decides nothing about output: it
//! reports each object to its caller.
//!
//! Invariant: the memory does not grow with the number of users. Names are listed by pages, and a
//! bounded number of objects is in memory.

mod profile_order;

use std::cell::Cell;
use std::future::ready;

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::profile_order::{ProfileOrder, profile_order};
use super::{Bucket, BucketError, CreateOutcome, Folder, Key, ObjectVersion};
use rollcall_core::{ImageName, Username};

/// Number of users that are copied at the same time.
const MAX_CONCURRENT_USERS: usize = 16;
/// Number of images of one user that are copied at the same time.
const MAX_CONCURRENT_IMAGES: usize = 4;
/// Number of objects that are copied at the same time. With the largest images of Rollcall, 512
/// KiB in the source and in the target, they take 16 MiB.
const MAX_CONCURRENT_OBJECTS: usize = 16;
/// Number of consecutive requests without success after which the copy ends. More than are in
/// flight, so that all of them have failed. Otherwise a copy of many objects would wait for the
/// deadline of each during an outage.
const MAX_CONSECUTIVE_FAILURES: u32 = 64;

/// Result of one object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CopyResult {
    /// The target did not have it. It was written, read back and compared.
    Created {
        /// Size of the object.
        bytes: usize,
    },
    /// The target had an earlier version. It was replaced, read back and compared.
    Replaced {
        /// Size of the object.
        bytes: usize,
    },
    /// The target has the same bytes.
    Unchanged,
    /// The target has a later version, which was kept.
    TargetIsNewer,
    /// The target has other content, which was kept. With the reason.
    Conflict(String),
    /// It could not be copied. With the cause.
    Failed(String),
    /// Rollcall does not read this object, so it was not copied.
    Ignored,
}

/// Progress of a copy.
#[derive(Clone, Copy, Debug)]
pub enum CopyEvent<'e> {
    /// So many more users were found in the source.
    UsersFound(usize),
    /// An object is done.
    Object {
        /// Its path in the bucket.
        path: &'e str,
        /// The result.
        result: &'e CopyResult,
    },
    /// All objects of a user are done.
    UserDone,
}

/// End of a copy.
#[derive(Debug)]
pub enum CopyEnd {
    /// Every object of the source was visited.
    Complete,
    /// The caller stopped the copy. The objects in flight were finished.
    Stopped,
    /// A store does not work any more.
    GaveUp,
    /// The users of the source cannot be listed.
    NotListed(BucketError),
}

/// Whether the bucket has a user.
///
/// # Errors
/// [`BucketError`] if the users cannot be listed.
pub async fn has_users(bucket: &Bucket) -> Result<bool, BucketError> {
    let mut pages = std::pin::pin!(bucket.list_pages(&Folder::Users).try_filter(|names| ready(!names.is_empty())));
    Ok(pages.try_next().await?.is_some())
}

/// Copies all users and images of `from` that `to` does not have, or has in an earlier version. A
/// dry run writes nothing, and reports what a copy would write. When `stop` is cancelled, no
/// further object is started.
pub async fn copy_bucket(
    from: &Bucket,
    to: &Bucket,
    is_dry_run: bool,
    stop: &CancellationToken,
    report: impl Fn(CopyEvent<'_>),
) -> CopyEnd {
    let copy = BucketCopy {
        from,
        to,
        is_dry_run,
        stop,
        gave_up: CancellationToken::new(),
        consecutive_failures: Cell::new(0),
        permits: Semaphore::new(MAX_CONCURRENT_OBJECTS),
        report,
    };
    let listed = copy.all_users().await;
    match listed {
        _ if copy.gave_up.is_cancelled() => CopyEnd::GaveUp,
        _ if stop.is_cancelled() => CopyEnd::Stopped,
        Ok(()) => CopyEnd::Complete,
        Err(error) => CopyEnd::NotListed(error),
    }
}

/// A running copy.
struct BucketCopy<'c, R> {
    from: &'c Bucket,
    to: &'c Bucket,
    is_dry_run: bool,
    stop: &'c CancellationToken,
    /// Cancelled when a store does not work any more.
    gave_up: CancellationToken,
    consecutive_failures: Cell<u32>,
    permits: Semaphore,
    report: R,
}

impl<R: Fn(CopyEvent<'_>)> BucketCopy<'_, R> {
    /// Copies every user of the source, page by page.
    async fn all_users(&self) -> Result<(), BucketError> {
        let names = self
            .from
            .list_pages(&Folder::Users)
            .inspect_ok(|names| (self.report)(CopyEvent::UsersFound(names.len())))
            .map_ok(|names| stream::iter(names).map(Ok))
            .try_flatten();
        let ended = std::pin::pin!(async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.gave_up.cancelled() => {}
            }
        });
        names
            .take_until(ended)
            .try_for_each_concurrent(MAX_CONCURRENT_USERS, async |name| {
                self.user(&name).await;
                (self.report)(CopyEvent::UserDone);
                Ok(())
            })
            .await
    }

    /// Copies the profile of a user, and then the images: a copy that is interrupted shows a user
    /// without some images, but never images without their user.
    async fn user(&self, name: &str) {
        let Ok(user) = Username::parse(name) else {
            return self.report_object(&(Folder::Users.path() + name), &CopyResult::Ignored);
        };
        let folder = Folder::Images(user.clone());
        if let Some(CopyResult::Conflict(_) | CopyResult::Failed(_)) = self.profile(&user).await {
            // The target may have another user of this name, who must not get these images.
            return;
        }
        let images = self
            .from
            .list_pages(&folder)
            .map_ok(|names| stream::iter(names).map(Ok))
            .try_flatten()
            .try_for_each_concurrent(MAX_CONCURRENT_IMAGES, async |name: String| {
                self.image(&user, &name).await;
                Ok(())
            });
        if let Err(error) = images.await {
            let result = self.failed(&error);
            self.report_object(&folder.path(), &result);
        }
    }

    /// Copies a profile. `None` if neither bucket has one.
    async fn profile(&self, user: &Username) -> Option<CopyResult> {
        let key = Key::Profile(user.clone());
        let result = self.object(&key, |source, target| profile_order(user, source, target)).await?;
        self.report_object(&key.path(), &result);
        Some(result)
    }

    async fn image(&self, user: &Username, name: &str) {
        let Ok(image) = ImageName::parse(name) else {
            return self.report_object(&(Folder::Images(user.clone()).path() + name), &CopyResult::Ignored);
        };
        if self.stop.is_cancelled() || self.gave_up.is_cancelled() {
            return;
        }
        let key = Key::Image(user.clone(), image);
        let conflict = |_: &[u8], _: &[u8]| ProfileOrder::Conflict("the target has another image of this name");
        if let Some(result) = self.object(&key, conflict).await {
            self.report_object(&key.path(), &result);
        }
    }

    /// Copies one object. `order` compares its bytes with different ones in the target. `None` if
    /// neither bucket has the object: it was deleted after it was listed.
    async fn object(&self, key: &Key, order: impl FnOnce(&[u8], &[u8]) -> ProfileOrder) -> Option<CopyResult> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let found = try_join(self.from.get(key), self.to.get(key)).await;
        let (source, target) = match found {
            Ok(found) => found,
            Err(error) => return Some(self.failed(&error)),
        };
        let result = match (source, target) {
            (None, None) => return None,
            (None, Some(_)) => CopyResult::Conflict("the target has it, and the source does not".to_owned()),
            (Some(source), None) => self.write(key, source.bytes, None).await,
            (Some(source), Some(target)) if source.bytes == target.bytes => CopyResult::Unchanged,
            (Some(source), Some(target)) => match order(&source.bytes, &target.bytes) {
                ProfileOrder::SourceIsNewer => self.write(key, source.bytes, Some(&target.version)).await,
                ProfileOrder::TargetIsNewer => CopyResult::TargetIsNewer,
                ProfileOrder::Conflict(reason) => CopyResult::Conflict(reason.to_owned()),
            },
        };
        if !matches!(result, CopyResult::Failed(_)) {
            self.consecutive_failures.set(0);
        }
        Some(result)
    }

    /// Creates the object in the target, or replaces this version of it. Reads it back and compares
    /// it.
    async fn write(&self, key: &Key, bytes: Bytes, replaced: Option<&ObjectVersion>) -> CopyResult {
        let (size, digest) = (bytes.len(), Sha256::digest(&bytes));
        if !self.is_dry_run {
            let written = match replaced {
                None => self.to.create(key, bytes).await.map(|created| match created {
                    CreateOutcome::Created(version) => Some(version),
                    CreateOutcome::AlreadyExists(_) => None,
                }),
                Some(version) => self.to.replace_if(key, version, bytes).await,
            };
            let read_back = match written {
                Ok(Some(version)) => self.to.get(key).await.map(|found| (version, found)),
                Ok(None) => return CopyResult::Failed(CHANGED_MEANWHILE.to_owned()),
                Err(error) => Err(error),
            };
            match read_back {
                Ok((_, Some(found))) if Sha256::digest(&found.bytes) == digest => {}
                Ok((version, Some(found))) if found.version == version => {
                    return CopyResult::Failed(format!(
                        "it was damaged: SHA-256 {} was written, and {} was read back; delete it in the target and copy \
                         again",
                        hex(&digest),
                        hex(&Sha256::digest(&found.bytes))
                    ));
                }
                Ok((_, Some(_) | None)) => return CopyResult::Failed(CHANGED_MEANWHILE.to_owned()),
                Err(error) => return self.failed(&error),
            }
        }
        match replaced {
            None => CopyResult::Created { bytes: size },
            Some(_) => CopyResult::Replaced { bytes: size },
        }
    }

    /// The result for an error of a store. Too many of them end the copy.
    fn failed(&self, error: &BucketError) -> CopyResult {
        // An object that cannot be read says nothing about the others.
        if !matches!(error, BucketError::Unreadable { .. }) {
            self.consecutive_failures.update(|count| count + 1);
            if self.consecutive_failures.get() >= MAX_CONSECUTIVE_FAILURES {
                self.gave_up.cancel();
            }
        }
        CopyResult::Failed(error.to_string())
    }

    fn report_object(&self, path: &str, result: &CopyResult) {
        (self.report)(CopyEvent::Object { path, result });
    }
}

/// Cause of a failed write: another program wrote or deleted the object.
const CHANGED_MEANWHILE: &str = "another program changed it in the target meanwhile; copy again";

/// The digest in hexadecimal digits.
fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
