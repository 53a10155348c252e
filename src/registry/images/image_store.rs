//! Images of users: stored byte for byte under unique names, and never changed.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tracing::{debug, info};

use super::image_cache::ImageCache;
use super::image_check::ImageChecker;
use crate::registry::auth::authorizer::Authorizer;
use crate::registry::auth::credentials::{Caller, Credentials};
use crate::registry::error::{AuthError, ImageError, LookupError, StorageUnavailable, UploadError};
use crate::registry::lock::lock;
use crate::registry::random;
use crate::registry::users::profile_store::ProfileStore;
use crate::storage::{CreateOutcome, Folder, Key};
use rollcall_core::{BootMs, ImageName, Username, WallMs};

/// Maximum number of names tried for one image. Two images of the same millisecond get the same
/// name with a chance of one in four million.
const MAX_NAME_ATTEMPTS: usize = 8;

/// Stores and reads images of users.
pub(crate) struct ImageStore {
    profiles: Arc<ProfileStore>,
    authorizer: Arc<Authorizer>,
    checker: ImageChecker,
    cache: Mutex<ImageCache>,
    /// Unix time in seconds and suffix of the last image name.
    last_suffix: Mutex<(i64, u32)>,
}

impl ImageStore {
    /// The images of the users in `profiles`, with an empty cache.
    pub(crate) fn new(profiles: Arc<ProfileStore>, authorizer: Arc<Authorizer>) -> Self {
        let checker = ImageChecker::default();
        Self { profiles, authorizer, checker, cache: Mutex::default(), last_suffix: Mutex::default() }
    }

    /// Stores an image of a registered user. When this returns `Ok`, the image is durable.
    pub(crate) async fn upload(
        &self,
        user: &Username,
        bytes: Bytes,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<ImageName, UploadError> {
        let entry = self.profiles.entry(user, caller.now).await.map_err(AuthError::from)?;
        self.authorizer.authorize(user, &entry, credentials, caller).await?;
        let kind = self.checker.check(bytes.clone()).await?;
        for _ in 0..MAX_NAME_ATTEMPTS {
            let image = ImageName::new(caller.wall, self.image_suffix(caller.wall), kind);
            let key = Key::Image(user.clone(), image.clone());
            match self.profiles.bucket().create(&key, bytes.clone()).await.map_err(StorageUnavailable::from)? {
                CreateOutcome::Created(_) => {
                    info!(user = %user, %image, bytes = bytes.len(), "image stored");
                    return Ok(image);
                }
                CreateOutcome::AlreadyExists(_) => {}
            }
        }
        Err(UploadError::NoFreeName)
    }

    /// The names of a registered user's images, oldest first.
    pub(crate) async fn images(&self, user: &Username, now: BootMs) -> Result<Vec<ImageName>, LookupError> {
        self.profiles.look_up(user, now).await?;
        Ok(self.image_names(user).await?)
    }

    /// The bytes of an image, as they were stored. An image deleted from the bucket may still be
    /// returned for a minute.
    pub(crate) async fn image(&self, user: &Username, image: &ImageName, now: BootMs) -> Result<Bytes, ImageError> {
        self.read_image(user, image, now).await?.ok_or(ImageError::NotFound)
    }

    /// The suffix of the name of an image stored now. It increases within a second, so that images
    /// sort by age even within a millisecond.
    fn image_suffix(&self, wall: WallMs) -> u32 {
        let mut last = lock(&self.last_suffix);
        let (second, random_suffix) = (wall.unix_seconds(), random::image_suffix(wall));
        let suffix = if last.0 == second { random_suffix.max(last.1.saturating_add(1)) } else { random_suffix };
        *last = (second, suffix);
        suffix
    }

    /// The names of the images in a user's folder, oldest first.
    pub(super) async fn image_names(&self, user: &Username) -> Result<Vec<ImageName>, StorageUnavailable> {
        let listed = self.profiles.bucket().list(&Folder::Images(user.clone())).await?;
        let names = listed.iter().filter_map(|name| {
            let parsed = ImageName::parse(name);
            parsed
                .inspect_err(|_| debug!(%user, name, "skipped an object in the bucket: its name is not an image name"))
                .ok()
        });
        let mut names: Vec<ImageName> = names.collect();
        // An image name begins with the time of the upload, so names sort by age.
        names.sort_unstable();
        Ok(names)
    }

    /// Logs that an image of a user is unreadable, once per user.
    pub(super) fn report_unreadable(&self, user: &Username, why: &str) {
        self.profiles.report_unreadable(user, why);
    }

    /// Reads an image from the cache or the bucket; `None` if there is none of this name.
    pub(super) async fn read_image(
        &self,
        user: &Username,
        image: &ImageName,
        now: BootMs,
    ) -> Result<Option<Bytes>, StorageUnavailable> {
        let name = (user.clone(), image.clone());
        if let Some(cached) = lock(&self.cache).get(&name, now) {
            return Ok(Some(cached));
        }
        let object = self.profiles.bucket().get(&Key::Image(user.clone(), image.clone())).await?;
        Ok(object.map(|object| {
            lock(&self.cache).insert(name, object.bytes.clone(), now);
            object.bytes
        }))
    }
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;
    use crate::registry::testing::{caller, encoded_image, name, registry, user, wall};
    use crate::storage::Backend;

    #[tokio::test]
    async fn images_of_the_same_millisecond_have_unique_names_that_sort_by_age() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let mut names = Vec::new();
        for side in 1..=10 {
            let bytes = encoded_image(ImageFormat::Png, side, 1);
            names.push(registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await.unwrap());
        }
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), names);
    }

    #[tokio::test]
    async fn a_taken_image_name_is_replaced_by_another() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        // Two suffixes are left in this second, and the first of them is taken.
        *lock(&registry.0.images.store.last_suffix) = (wall().unix_seconds(), u32::MAX - 2);
        let taken = ImageName::new(wall(), u32::MAX - 1, rollcall_core::ImageKind::Png);
        memory.create(&Key::Image(name("alice"), taken), b"x".as_slice().into()).await.unwrap();
        let bytes = encoded_image(ImageFormat::Png, 1, 1);
        let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        assert_eq!(image.as_str(), "1733511234-ffffffff.png");
        // No name is left in this second.
        let other = encoded_image(ImageFormat::Png, 2, 2);
        let rejected = registry.upload(&name("alice"), other, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(rejected, Err(UploadError::NoFreeName)));
        assert_eq!(registry.image(&name("alice"), &image, BootMs(0)).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn an_image_is_read_from_the_bucket_once_a_minute_and_a_missing_one_each_time() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let bytes = encoded_image(ImageFormat::Png, 1, 1);
        let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        let other = ImageName::new(wall(), 1, rollcall_core::ImageKind::Png);
        let before = memory.faults().calls();
        for (asked, at, calls) in
            [(&image, 0, 1), (&image, 59_999, 1), (&image, 60_000, 2), (&other, 60_000, 3), (&other, 60_000, 4)]
        {
            let found = registry.image(&name("alice"), asked, BootMs(at)).await;
            assert_eq!(found.ok(), (asked == &image).then(|| bytes.clone()));
            assert_eq!(memory.faults().calls() - before, calls, "{asked} at {at}");
        }
        // An image of the same name in another user's folder is a different image.
        assert!(matches!(registry.image(&name("bob"), &image, BootMs(60_000)).await, Err(ImageError::NotFound)));
    }

    #[tokio::test]
    async fn only_images_of_registered_users_are_listed() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), []);
        let image = ImageName::new(wall(), 1, rollcall_core::ImageKind::Png);
        memory.create(&Key::Image(name("alice"), image.clone()), b"x".as_slice().into()).await.unwrap();
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), [image]);
        let unknown = registry.images(&name("bob"), BootMs(0)).await;
        assert!(matches!(unknown, Err(LookupError::NotRegistered(_))));
    }
}
