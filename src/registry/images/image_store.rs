//! Images of users: stored byte for byte under unique names, and never changed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, info};

use super::image_cache::ImageCache;
use super::image_check::ImageChecker;
use super::listing_cache::{ListedImage, Listing, ListingCache, NewImage};
use super::upload_budget::UploadBudget;
use crate::fair_pool::Claimant;
use crate::registry::auth::authorizer::Authorizer;
use crate::registry::auth::credentials::{Caller, Credentials};
use crate::registry::error::{AuthError, ImageError, LookupError, ReadError, StorageUnavailable, UploadError};
use crate::registry::lock::lock;
use crate::registry::quotas::Quotas;
use crate::registry::random;
use crate::registry::users::profile_store::{MAX_READ_WAIT, ProfileStore};
use crate::storage::{CreateOutcome, Folder, Key, ListedChild};
use rollcall_core::{BootMs, ImageKind, ImageName, Username};

/// Maximum number of names tried for one image. Two images get the same name only if two leaders
/// store them at the same time, with a chance of one in four billion.
const MAX_NAME_ATTEMPTS: usize = 3;

/// Stores and reads images of users.
pub(crate) struct ImageStore {
    profiles: Arc<ProfileStore>,
    authorizer: Arc<Authorizer>,
    checker: ImageChecker,
    quotas: Quotas,
    budget: UploadBudget,
    cache: Mutex<ImageCache>,
    listings: Mutex<ListingCache>,
}

/// An upload in progress. If it is dropped, it is not known whether the image was stored.
struct UploadInProgress<'s> {
    listings: &'s Mutex<ListingCache>,
    user: &'s Username,
    image: ListedImage,
}

impl UploadInProgress<'_> {
    /// Ends an upload that stored its image.
    fn stored(self, now: BootMs) {
        lock(self.listings).stored(self.user, self.image.clone(), now);
    }

    /// Ends an upload that stored nothing.
    fn stored_nothing(self) {
        lock(self.listings).stored_nothing(self.user, &self.image.name);
    }
}

impl Drop for UploadInProgress<'_> {
    fn drop(&mut self) {
        lock(self.listings).unknown(self.user, &self.image.name);
    }
}

impl ImageStore {
    /// The images of the users in `profiles`, with empty caches.
    pub(crate) fn new(profiles: Arc<ProfileStore>, authorizer: Arc<Authorizer>, quotas: Quotas) -> Self {
        let (checker, budget) = (ImageChecker::default(), UploadBudget::new(quotas.uploads));
        let listings = Mutex::new(ListingCache::new(profiles.bucket().deadline()));
        Self { profiles, authorizer, checker, quotas, budget, cache: Mutex::default(), listings }
    }

    /// Stores an image of a registered user. When this returns `Ok`, the image is durable.
    pub(crate) async fn upload(
        &self,
        user: &Username,
        bytes: Bytes,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<ImageName, UploadError> {
        let entry = self.profiles.entry(user, caller).await.map_err(AuthError::from)?;
        self.authorizer.authorize(user, &entry, credentials, caller).await?;
        let kind = self.checker.check(bytes.clone(), caller.claimant()).await?;
        let size = size(&bytes);
        let listing = self.listing(user, caller.now, caller.claimant(), MAX_READ_WAIT).await?;
        self.budget.take(caller.from, size, caller.now)?;
        let stored = self.store(user, (bytes, kind), &listing, caller).await;
        if stored.as_ref().is_err_and(UploadError::stored_nothing) {
            self.budget.give_back(caller.from, size);
        }
        stored
    }

    /// Stores a valid image under a new name.
    async fn store(
        &self,
        user: &Username,
        (bytes, kind): (Bytes, ImageKind),
        listing: &Listing,
        caller: Caller<'_>,
    ) -> Result<ImageName, UploadError> {
        let size = size(&bytes);
        for _ in 0..MAX_NAME_ATTEMPTS {
            let image = NewImage { bytes: size, kind, suffix: random::image_suffix() };
            let at = (caller.now, caller.wall);
            let name = lock(&self.listings).start_upload(user, listing, image, &self.quotas, at)?;
            let image = ListedImage { name: name.clone(), bytes: size };
            let upload = UploadInProgress { listings: &self.listings, user, image };
            let key = Key::Image(user.clone(), name.clone());
            match self.profiles.bucket().create(&key, bytes.clone()).await.map_err(StorageUnavailable::from) {
                Ok(CreateOutcome::Created(_)) => {
                    upload.stored(caller.now);
                    info!(user = %user, image = %name, bytes = size, "image stored");
                    return Ok(name);
                }
                Ok(CreateOutcome::AlreadyExists(_)) => upload.stored_nothing(),
                Err(error) if error.stored_nothing() => {
                    upload.stored_nothing();
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(UploadError::NoFreeName)
    }

    /// The names of a registered user's images, oldest first.
    pub(crate) async fn images(&self, user: &Username, caller: Caller<'_>) -> Result<Vec<ImageName>, LookupError> {
        self.profiles.look_up(user, caller).await?;
        Ok(self.image_names(user, caller.now, caller.claimant(), MAX_READ_WAIT).await?)
    }

    /// The bytes of an image, as they were stored. An image deleted from the bucket may still be
    /// returned for a minute.
    pub(crate) async fn image(
        &self,
        user: &Username,
        image: &ImageName,
        caller: Caller<'_>,
    ) -> Result<Bytes, ImageError> {
        match self.read_image(user, image, caller.now, caller.claimant(), MAX_READ_WAIT).await {
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
    /// read. An image that another program adds or deletes may be missing or returned for a minute.
    pub(super) async fn image_names(
        &self,
        user: &Username,
        now: BootMs,
        client: Claimant<'_>,
        max_wait: Duration,
    ) -> Result<Vec<ImageName>, ReadError> {
        Ok(self.listing(user, now, client, max_wait).await?.iter().map(|image| image.name.clone()).collect())
    }

    /// The images in a user's folder, from the cache or the bucket.
    async fn listing(
        &self,
        user: &Username,
        now: BootMs,
        client: Claimant<'_>,
        max_wait: Duration,
    ) -> Result<Listing, ReadError> {
        if let Some(listing) = lock(&self.listings).get(user, self.profiles.term(), now) {
            return Ok(listing);
        }
        let _permit = self.profiles.read_permit(client, max_wait).await?;
        let started = {
            let (term, mut listings) = (self.profiles.term(), lock(&self.listings));
            // Another request may have listed the folder meanwhile.
            if let Some(listing) = listings.get(user, term, now) {
                return Ok(listing);
            }
            listings.start(user, term, now)
        };
        let listed = self.profiles.bucket().list_children(&Folder::Images(user.clone())).await;
        let listed = match listed.map_err(StorageUnavailable::from) {
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(user, &error.cause());
                return Ok(Listing::default());
            }
            listed => listed?,
        };
        let image = |child: ListedChild| {
            let Ok(name) = ImageName::parse(&child.name) else {
                debug!(%user, name = child.name, "skipped an object in the bucket: its name is not an image name");
                return None;
            };
            Some(ListedImage { name, bytes: child.bytes })
        };
        let images = listed.into_iter().filter_map(image).collect();
        Ok(lock(&self.listings).finish(user, started, images))
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
        client: Claimant<'_>,
        max_wait: Duration,
    ) -> Result<Option<Bytes>, ReadError> {
        let name = (user.clone(), image.clone());
        if let Some(cached) = lock(&self.cache).get(&name, now) {
            return Ok(Some(cached));
        }
        let _permit = self.profiles.read_permit(client, max_wait).await?;
        // Another request may have read it meanwhile.
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

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
