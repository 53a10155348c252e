//! ImageChecker of users: stored byte for byte, each under a name of its own, and never changed.

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

/// Names that are drawn for one picture before it is given up: two pictures of one millisecond share one with a chance
/// of one in four million.
const MAX_NAME_ATTEMPTS: usize = 8;

/// The pictures of the users.
pub(crate) struct ImageStore {
    profiles: Arc<ProfileStore>,
    access: Arc<Authorizer>,
    checker: ImageChecker,
    cache: Mutex<ImageCache>,
    /// The second in which a picture was named last, and what told it apart.
    last_suffix: Mutex<(i64, u32)>,
}

impl ImageStore {
    /// The pictures of the users of `profiles`, of which none was read yet.
    pub(crate) fn new(profiles: Arc<ProfileStore>, access: Arc<Authorizer>) -> Self {
        let checker = ImageChecker::default();
        Self { profiles, access, checker, cache: Mutex::default(), last_suffix: Mutex::default() }
    }

    /// Stores a picture of a registered user. When this returns `Ok`, the picture is durable.
    pub(crate) async fn upload(
        &self,
        user: &Username,
        bytes: Bytes,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<ImageName, UploadError> {
        let entry = self.profiles.entry(user, caller.now).await.map_err(AuthError::from)?;
        self.access.authorize(user, &entry, credentials, caller).await?;
        let kind = self.checker.check(bytes.clone()).await?;
        for _ in 0..MAX_NAME_ATTEMPTS {
            let image = ImageName::new(caller.wall, self.image_suffix(caller.wall), kind);
            let key = Key::Image(user.clone(), image.clone());
            match self.profiles.bucket().create(&key, bytes.clone()).await.map_err(StorageUnavailable::from)? {
                CreateOutcome::Created(_) => {
                    info!(user = %user, %image, bytes = bytes.len(), "stored {image} of {user}");
                    return Ok(image);
                }
                CreateOutcome::AlreadyExists(_) => {}
            }
        }
        Err(UploadError::NoFreeName)
    }

    /// The names of a registered user's pictures, oldest first.
    pub(crate) async fn images(&self, user: &Username, now: BootMs) -> Result<Vec<ImageName>, LookupError> {
        self.profiles.look_up(user, now).await?;
        Ok(self.image_names(user).await?)
    }

    /// A picture as it was stored. One that was deleted from the bucket may be given for another minute.
    pub(crate) async fn image(&self, user: &Username, image: &ImageName, now: BootMs) -> Result<Bytes, ImageError> {
        self.read_image(user, image, now).await?.ok_or(ImageError::NotFound)
    }

    /// What tells a picture stored now from others of its second; greater for each further one, so that they sort by age
    /// even within a millisecond.
    fn image_suffix(&self, wall: WallMs) -> u32 {
        let mut last = lock(&self.last_suffix);
        let (second, drawn) = (wall.unix_seconds(), random::image_suffix(wall));
        let suffix = if last.0 == second { drawn.max(last.1.saturating_add(1)) } else { drawn };
        *last = (second, suffix);
        suffix
    }

    /// The names of the pictures in a user's folder, oldest first.
    pub(super) async fn image_names(&self, user: &Username) -> Result<Vec<ImageName>, StorageUnavailable> {
        let listed = self.profiles.bucket().list(&Folder::Images(user.clone())).await?;
        let names = listed.iter().filter_map(|name| {
            let parsed = ImageName::parse(name);
            parsed.inspect_err(|_| debug!("skipped {name:?} of {user} in the bucket: not the name of an image")).ok()
        });
        let mut names: Vec<ImageName> = names.collect();
        // Names sort by age.
        names.sort_unstable();
        Ok(names)
    }

    /// Logs, the first time that it is met, that a picture of a user cannot be read.
    pub(super) fn report_unreadable(&self, user: &Username, why: &str) {
        self.profiles.report_unreadable(user, why);
    }

    /// A picture, from the bucket unless it was read a moment ago; `None` if there is none of that name.
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
    async fn pictures_of_one_moment_have_names_of_their_own_that_sort_by_age() {
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
    async fn a_name_that_is_taken_is_drawn_again() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        // Every suffix but the last few is passed, and the next one is taken.
        *lock(&registry.0.images.store.last_suffix) = (wall().unix_seconds(), u32::MAX - 2);
        let taken = ImageName::new(wall(), u32::MAX - 1, rollcall_core::ImageKind::Png);
        memory.create(&Key::Image(name("alice"), taken), b"x".as_slice().into()).await.unwrap();
        let bytes = encoded_image(ImageFormat::Png, 1, 1);
        let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        assert_eq!(image.as_str(), "1733511234-ffffffff.png");
        // Now no name is left in this second.
        let other = encoded_image(ImageFormat::Png, 2, 2);
        let refused = registry.upload(&name("alice"), other, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(refused, Err(UploadError::NoFreeName)));
        assert_eq!(registry.image(&name("alice"), &image, BootMs(0)).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_picture_is_read_from_the_bucket_once_a_minute_and_a_missing_one_each_time() {
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
        // It is another user's, whatever its name.
        assert!(matches!(registry.image(&name("bob"), &image, BootMs(60_000)).await, Err(ImageError::NotFound)));
    }

    #[tokio::test]
    async fn what_lies_beside_the_pictures_is_not_listed() {
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
