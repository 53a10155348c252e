//! Images of users: stored byte for byte under unique names, and never changed.

use std::collections::HashMap;
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

/// Maximum number of names tried for one image. Two images get the same name only if two leaders
/// store them at the same time, with a chance of one in four billion.
const MAX_NAME_ATTEMPTS: usize = 3;

/// Maximum number of users whose last image number is remembered. Forgetting one is harmless,
/// unless two uploads of one user run at the same time.
const MAX_REMEMBERED_USERS: usize = 4096;

/// The last image numbers that this node has assigned, by user. So concurrent uploads of one user
/// get different numbers.
#[derive(Debug, Default)]
struct LastNumbers(HashMap<Username, u128>);

impl LastNumbers {
    /// The number of the next image of `user`, which is stored at `now`. It exceeds `greatest`, the
    /// greatest number in the bucket.
    fn next(&mut self, user: &Username, now: WallMs, greatest: Option<u128>) -> u128 {
        let greatest = self.0.get(user).copied().max(greatest);
        let number = ImageName::next_number(now, greatest);
        if self.0.len() == MAX_REMEMBERED_USERS {
            self.0.clear();
        }
        self.0.insert(user.clone(), number);
        number
    }
}

/// Stores and reads images of users.
pub(crate) struct ImageStore {
    profiles: Arc<ProfileStore>,
    authorizer: Arc<Authorizer>,
    checker: ImageChecker,
    cache: Mutex<ImageCache>,
    last_numbers: Mutex<LastNumbers>,
}

impl ImageStore {
    /// The images of the users in `profiles`, with an empty cache.
    pub(crate) fn new(profiles: Arc<ProfileStore>, authorizer: Arc<Authorizer>) -> Self {
        let checker = ImageChecker::default();
        Self { profiles, authorizer, checker, cache: Mutex::default(), last_numbers: Mutex::default() }
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
        // The bucket is listed for each upload: another leader may have stored images since the
        // last.
        let greatest = self.image_names(user).await?.last().and_then(ImageName::number);
        for _ in 0..MAX_NAME_ATTEMPTS {
            let number = lock(&self.last_numbers).next(user, caller.wall, greatest);
            let image = ImageName::new(number, random::image_suffix(), kind);
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
        match self.read_image(user, image, now).await {
            Ok(bytes) => bytes.ok_or(ImageError::NotFound),
            // Only this object cannot be read. A client must not wait for the storage.
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(user, &error.cause());
                Err(ImageError::NotFound)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The names of the images in a user's folder, oldest first. None if only this folder cannot be
    /// read.
    pub(super) async fn image_names(&self, user: &Username) -> Result<Vec<ImageName>, StorageUnavailable> {
        let listed = self.profiles.bucket().list(&Folder::Images(user.clone())).await;
        let listed = match listed.map_err(StorageUnavailable::from) {
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(user, &error.cause());
                return Ok(Vec::new());
            }
            listed => listed?,
        };
        let names = listed.iter().filter_map(|name| {
            let parsed = ImageName::parse(name);
            parsed
                .inspect_err(|_| debug!(%user, name, "skipped an object in the bucket: its name is not an image name"))
                .ok()
        });
        let mut names: Vec<ImageName> = names.collect();
        // By the numbers at their start.
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
    use std::collections::HashSet;

    use futures_util::future::join_all;
    use image::ImageFormat;

    use super::*;
    use crate::registry::Registry;
    use crate::registry::testing::{caller, encoded_image, name, registry, registry_on, user};
    use crate::storage::{Backend, Fault};

    /// An image that differs from those of other widths.
    async fn upload(registry: &Registry, user: &str, width: u32) -> ImageName {
        let bytes = encoded_image(ImageFormat::Png, width, 1);
        registry.upload(&name(user), bytes, Credentials::None, caller(BootMs(0))).await.unwrap()
    }

    async fn images(registry: &Registry, user: &str) -> Vec<String> {
        registry.images(&name(user), BootMs(0)).await.unwrap().iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn images_of_the_same_millisecond_have_ascending_numbers() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let mut names = Vec::new();
        for side in 1..=10 {
            names.push(upload(&registry, "alice", side).await);
        }
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), names);
        let numbers: Vec<u128> = names.iter().filter_map(ImageName::number).collect();
        assert_eq!(numbers, (1_733_511_234..1_733_511_244).collect::<Vec<_>>());
        // The next leader has not assigned these numbers itself.
        let all = join_all((11..=20).map(|side| upload(&registry, "alice", side))).await;
        let numbers: HashSet<Option<u128>> = all.iter().map(ImageName::number).collect();
        assert_eq!(numbers, (1_733_511_244..1_733_511_254).map(Some).collect());
    }

    #[tokio::test]
    async fn a_new_image_comes_after_all_images_of_its_user_whatever_the_clock_says() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        // The clock of these tests says 1733511234.
        let stored = ["avatar.png", "999-a.png", "1733511234-a1b2.png", "1765045165-e1c0e532.png", "01.jpeg", "x.txt"];
        for text in stored {
            if let Ok(image) = ImageName::parse(text) {
                memory.create(&Key::Image(name("alice"), image), b"x".as_slice().into()).await.unwrap();
            }
        }
        let first = upload(&registry, "alice", 1).await;
        assert_eq!(first.number(), Some(1_765_045_166));
        let second = upload(&registry_on(&memory), "alice", 2).await;
        assert_eq!(second.number(), Some(1_765_045_167));
        let expected = ["avatar.png", "01.jpeg", "999-a.png", "1733511234-a1b2.png", "1765045165-e1c0e532.png"];
        assert_eq!(images(&registry, "alice").await, [&expected[..], &[first.as_str(), second.as_str()]].concat());
    }

    #[tokio::test]
    async fn an_upload_fails_if_the_users_images_cannot_be_listed() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        memory.faults().inject(1, &Fault::Permanent);
        let bytes = encoded_image(ImageFormat::Png, 1, 1);
        let uploaded = registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(uploaded, Err(UploadError::Storage(_))), "{uploaded:?}");
        assert_eq!(images(&registry, "alice").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_image_is_read_from_the_bucket_once_a_minute_and_a_missing_one_each_time() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let bytes = encoded_image(ImageFormat::Png, 1, 1);
        let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        let other = ImageName::new(1_733_511_234, 1, rollcall_core::ImageKind::Png);
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
        let image = ImageName::new(1_733_511_234, 1, rollcall_core::ImageKind::Png);
        memory.create(&Key::Image(name("alice"), image.clone()), b"x".as_slice().into()).await.unwrap();
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), [image]);
        let unknown = registry.images(&name("bob"), BootMs(0)).await;
        assert!(matches!(unknown, Err(LookupError::NotRegistered(_))));
    }
}
