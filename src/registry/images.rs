//! Pictures of users: stored byte for byte, each under a name of its own, and never changed.

use bytes::Bytes;
use tracing::{debug, info};

use super::access::{Caller, Credentials};
use super::{AuthError, ImageError, LookupError, Registry, Unavailable, UploadError, draw, lock};
use crate::storage::{Created, Folder, Key};
use rollcall_core::{BootMs, ImageName, Username, WallMs};

/// Names that are drawn for one picture before it is given up: two pictures of one millisecond share one with a chance
/// of one in four million.
const DRAWS: usize = 8;

impl Registry {
    /// Stores a picture of a registered user. When this returns `Ok`, the picture is durable.
    ///
    /// # Errors
    /// [`UploadError`] if the user is not registered, or has a password and `credentials` are not good, the picture breaks a
    /// rule, or the bucket gave no answer.
    pub async fn upload(
        &self,
        user: &Username,
        picture: Bytes,
        credentials: Credentials<'_>,
        caller: Caller,
    ) -> Result<ImageName, UploadError> {
        let entry = self.entry(user, caller.now).await.map_err(AuthError::from)?;
        self.authorize(user, &entry, credentials, caller).await?;
        let kind = self.0.pictures.check(picture.clone()).await?;
        for _ in 0..DRAWS {
            let image = ImageName::new(caller.wall, self.image_suffix(caller.wall), kind);
            let key = Key::Image(user.clone(), image.clone());
            match self.0.bucket.create(&key, picture.clone()).await.map_err(Unavailable::from)? {
                Created::New(_) => {
                    info!(user = %user, %image, bytes = picture.len(), "stored {image} of {user}");
                    return Ok(image);
                }
                Created::Taken(_) => {}
            }
        }
        Err(UploadError::NoFreeName)
    }

    /// The names of a registered user's pictures, oldest first.
    ///
    /// # Errors
    /// [`LookupError`] if the user is not registered, or the bucket gave no answer.
    pub async fn images(&self, user: &Username, now: BootMs) -> Result<Vec<ImageName>, LookupError> {
        self.look_up(user, now).await?;
        Ok(self.image_names(user).await?)
    }

    /// A picture as it was stored. One that was deleted from the bucket may be given for another minute.
    ///
    /// # Errors
    /// [`ImageError`] if there is none of that name, or the bucket gave no answer.
    pub async fn image(&self, user: &Username, image: &ImageName, now: BootMs) -> Result<Bytes, ImageError> {
        self.read_image(user, image, now).await?.ok_or(ImageError::NotFound)
    }

    /// What tells a picture stored now from others of its second; greater for each further one, so that they sort by age
    /// even within a millisecond.
    fn image_suffix(&self, wall: WallMs) -> u32 {
        let mut last = lock(&self.0.last_image);
        let (second, drawn) = (wall.unix_seconds(), draw::image_suffix(wall));
        let suffix = if last.0 == second { drawn.max(last.1.saturating_add(1)) } else { drawn };
        *last = (second, suffix);
        suffix
    }

    /// The names of the pictures in a user's folder, oldest first.
    pub(super) async fn image_names(&self, user: &Username) -> Result<Vec<ImageName>, Unavailable> {
        let listed = self.0.bucket.list(&Folder::Images(user.clone())).await?;
        let names = listed.iter().filter_map(|name| {
            let parsed = ImageName::parse(name);
            parsed.inspect_err(|_| debug!("skipped {name:?} of {user} in the bucket: not the name of an image")).ok()
        });
        let mut names: Vec<ImageName> = names.collect();
        // Names sort by age.
        names.sort_unstable();
        Ok(names)
    }

    /// A picture, from the bucket unless it was read a moment ago; `None` if there is none of that name.
    pub(super) async fn read_image(
        &self,
        user: &Username,
        image: &ImageName,
        now: BootMs,
    ) -> Result<Option<Bytes>, Unavailable> {
        let name = (user.clone(), image.clone());
        if let Some(kept) = lock(&self.0.gallery).find(&name, now) {
            return Ok(Some(kept));
        }
        let object = self.0.bucket.get(&Key::Image(user.clone(), image.clone())).await?;
        Ok(object.map(|object| {
            lock(&self.0.gallery).keep(name, object.bytes.clone(), now);
            object.bytes
        }))
    }
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::super::testing::{caller, name, picture, registry, user, wall};
    use super::*;
    use crate::storage::Backend;

    #[tokio::test]
    async fn pictures_of_one_moment_have_names_of_their_own_that_sort_by_age() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let mut names = Vec::new();
        for side in 1..=10 {
            let bytes = picture(ImageFormat::Png, side, 1);
            names.push(registry.upload(&name("alice"), bytes, Credentials::None, caller(BootMs(0))).await.unwrap());
        }
        assert_eq!(registry.images(&name("alice"), BootMs(0)).await.unwrap(), names);
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_drawn_again() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        // Every suffix but the last few is passed, and the next one is taken.
        *lock(&registry.0.last_image) = (wall().unix_seconds(), u32::MAX - 2);
        let taken = ImageName::new(wall(), u32::MAX - 1, rollcall_core::ImageKind::Png);
        memory.create(&Key::Image(name("alice"), taken), b"x".as_slice().into()).await.unwrap();
        let bytes = picture(ImageFormat::Png, 1, 1);
        let image = registry.upload(&name("alice"), bytes.clone(), Credentials::None, caller(BootMs(0))).await.unwrap();
        assert_eq!(image.as_str(), "1733511234-ffffffff.png");
        // Now no name is left in this second.
        let other = picture(ImageFormat::Png, 2, 2);
        let refused = registry.upload(&name("alice"), other, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(refused, Err(UploadError::NoFreeName)));
        assert_eq!(registry.image(&name("alice"), &image, BootMs(0)).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_picture_is_read_from_the_bucket_once_a_minute_and_a_missing_one_each_time() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let bytes = picture(ImageFormat::Png, 1, 1);
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
