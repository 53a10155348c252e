//! Cache of the images in users' folders: names and sizes. Pure; time is an argument.
//!
//! Only the leader writes, so its own uploads keep its listings current, and a new term empties the
//! cache: another leader may have written. A call that a deposed leader has begun can still take
//! effect until the deadline of the call. So a listing that started before that time in a term
//! expires then. Other programs may change the bucket too, so a listing expires after a minute.
//!
//! A listing that started before an upload ended may lack the new image. So uploads are kept beside
//! the listing for a minute, and added to each. Uploads in progress count for the quotas.

use std::sync::Arc;
use std::time::Duration;

use super::lru_cache::LruCache;
use crate::registry::quotas::{QuotaExceeded, Quotas};
use rollcall_core::{BootMs, ImageKind, ImageName, Term, Username, WallMs};

/// Maximum memory of all listings, in bytes: about 100,000 images.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Approximate memory of a user and of an image in the cache, in bytes, without the text of the
/// name.
const OVERHEAD_BYTES: usize = 128;

/// Lifetime of a listing, and of an upload beside it, in milliseconds. An upload is dated by the
/// start of its request, so this is longer than a request.
pub(crate) const TTL_MS: u64 = 60 * 1000;

/// An image in a user's folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ListedImage {
    pub(super) name: ImageName,
    pub(super) bytes: u64,
}

/// Images in the order of their names.
pub(super) type Listing = Arc<[ListedImage]>;

/// The listings of the users that were used last.
#[derive(Debug)]
pub(super) struct ListingCache {
    users: LruCache<Username, UserListing>,
    /// The term of all listings.
    term: Term,
    /// Time after which no write of an earlier leader takes effect.
    settled_at: BootMs,
    /// Longest duration of a write.
    write_deadline: Duration,
    /// Number of entries so far.
    entries: u64,
}

/// The images of one user.
#[derive(Debug)]
struct UserListing {
    /// Distinguishes the entry from an earlier one of the same user.
    entry: u64,
    /// The listing, and the time at which it started. `None` while the first one is in progress.
    listing: Option<(Listing, BootMs)>,
    uploads: Vec<Upload>,
}

/// An upload of this node.
#[derive(Clone, Debug)]
struct Upload {
    image: ListedImage,
    state: UploadState,
    /// The start of the upload.
    at: BootMs,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UploadState {
    InProgress,
    /// The response of the bucket was lost, or the request was abandoned.
    Unknown,
    Stored,
}

/// A listing in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListingInProgress {
    entry: u64,
    started_at: BootMs,
}

/// A new image: its size, its format, and the random part of its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewImage {
    pub(super) bytes: u64,
    pub(super) kind: ImageKind,
    pub(super) suffix: u32,
}

impl ListingCache {
    /// An empty cache for a bucket whose writes end within `write_deadline`.
    pub(super) fn new(write_deadline: Duration) -> Self {
        Self::with_max_cost(MAX_BYTES, write_deadline)
    }

    fn with_max_cost(max_cost: usize, write_deadline: Duration) -> Self {
        Self { users: LruCache::new(max_cost), term: Term(0), settled_at: BootMs(0), write_deadline, entries: 0 }
    }

    /// The listing of a user in `term`, if it has not expired at `now`.
    pub(super) fn get(&mut self, user: &Username, term: Term, now: BootMs) -> Option<Listing> {
        self.begin_term(term, now);
        let (listing, listed_at) = self.users.get(user)?.listing.as_ref()?;
        let is_settled = *listed_at >= self.settled_at || now < self.settled_at;
        (is_settled && now.since(*listed_at) < TTL_MS).then(|| Arc::clone(listing))
    }

    /// Begins a listing of a user in `term`.
    pub(super) fn start(&mut self, user: &Username, term: Term, now: BootMs) -> ListingInProgress {
        self.begin_term(term, now);
        let entry = self.update(user, |user| user.entry);
        ListingInProgress { entry, started_at: now }
    }

    /// Ends a listing, and caches it unless the entry of the user was removed meanwhile. Returns it
    /// with the images that this node has stored since it started.
    pub(super) fn finish(
        &mut self,
        user: &Username,
        started: ListingInProgress,
        mut listed: Vec<ListedImage>,
    ) -> Listing {
        if self.users.get(user).is_some_and(|user| user.entry == started.entry) {
            self.update(user, |user| user.finish(started.started_at, listed))
        } else {
            sort(&mut listed);
            listed.into()
        }
    }

    /// Starts an upload, and chooses the name of the image: it comes after all images of the user.
    /// `known` is a listing of this term.
    pub(super) fn start_upload(
        &mut self,
        user: &Username,
        known: &Listing,
        image: NewImage,
        quotas: &Quotas,
        (now, wall): (BootMs, WallMs),
    ) -> Result<ImageName, QuotaExceeded> {
        let added = self.update(user, |user| user.not_in(known));
        let count = |images: usize| u64::try_from(images).unwrap_or(u64::MAX);
        let images = count(known.len() + added.len());
        if let Some(max) = quotas.images_per_user.filter(|max| images >= *max) {
            return Err(QuotaExceeded::Images { user: user.clone(), images, max });
        }
        let bytes = known.iter().chain(&added).map(|image| image.bytes).fold(image.bytes, u64::saturating_add);
        if let Some(max) = quotas.image_bytes_per_user.filter(|max| bytes > *max) {
            return Err(QuotaExceeded::ImageBytes { user: user.clone(), bytes, max });
        }
        let greatest = known.iter().chain(&added).filter_map(|image| image.name.number()).max();
        let name = ImageName::new(ImageName::next_number(wall, greatest), image.suffix, image.kind);
        let image = ListedImage { name: name.clone(), bytes: image.bytes };
        self.update(user, |user| user.uploads.push(Upload { image, state: UploadState::InProgress, at: now }));
        Ok(name)
    }

    /// Ends an upload that stored `image`.
    pub(super) fn stored(&mut self, user: &Username, image: ListedImage, now: BootMs) {
        // Without an entry there is no listing that could lack the image: see `finish`.
        if self.users.get(user).is_some() {
            self.update(user, |user| user.add(image, now));
        }
    }

    /// Ends an upload that stored nothing.
    pub(super) fn stored_nothing(&mut self, user: &Username, name: &ImageName) {
        if self.users.get(user).is_some() {
            self.update(user, |user| user.uploads.retain(|upload| upload.image.name != *name));
        }
    }

    /// Ends an upload that may have stored an image. It counts until a later listing shows whether
    /// it did.
    pub(super) fn unknown(&mut self, user: &Username, name: &ImageName) {
        if self.users.get(user).is_some() {
            self.update(user, |user| {
                let uploads = user.uploads.iter_mut().filter(|upload| upload.image.name == *name);
                uploads
                    .filter(|upload| upload.state == UploadState::InProgress)
                    .for_each(|upload| upload.state = UploadState::Unknown);
            });
        }
    }

    fn begin_term(&mut self, term: Term, now: BootMs) {
        if term != self.term {
            self.term = term;
            let deadline_ms = u64::try_from(self.write_deadline.as_millis()).unwrap_or(u64::MAX);
            self.settled_at = now.plus(deadline_ms);
            self.users.clear();
        }
    }

    /// Changes the entry of a user, which is created if there is none.
    fn update<T>(&mut self, name: &Username, change: impl FnOnce(&mut UserListing) -> T) -> T {
        let mut user = self.users.remove(name).unwrap_or_else(|| {
            self.entries += 1;
            UserListing { entry: self.entries, listing: None, uploads: Vec::new() }
        });
        let result = change(&mut user);
        let cost = user.cost();
        self.users.insert(name.clone(), user, cost);
        result
    }
}

impl UserListing {
    fn finish(&mut self, started_at: BootMs, mut listed: Vec<ListedImage>) -> Listing {
        // The listing may lack an image that was stored after it started.
        self.uploads.retain(|upload| upload.state == UploadState::InProgress || started_at.since(upload.at) < TTL_MS);
        sort(&mut listed);
        let listed: Listing = listed.into();
        let stored = |upload: &&Upload| upload.state == UploadState::Stored;
        let added = self.uploads.iter().filter(stored).map(|upload| upload.image.clone());
        let mut added: Vec<ListedImage> = added.filter(|image| !contains(&listed, &image.name)).collect();
        added.extend(listed.iter().cloned());
        sort(&mut added);
        let listing: Listing = added.into();
        self.listing = Some((Arc::clone(&listing), started_at));
        listing
    }

    /// Images of uploads that the listing lacks. Those in progress and those of unknown end count.
    fn not_in(&self, listing: &Listing) -> Vec<ListedImage> {
        let images = self.uploads.iter().map(|upload| &upload.image);
        images.filter(|image| !contains(listing, &image.name)).cloned().collect()
    }

    fn add(&mut self, image: ListedImage, now: BootMs) {
        if let Some((listing, _)) = &mut self.listing
            && !contains(listing, &image.name)
        {
            let mut images = listing.to_vec();
            images.push(image.clone());
            sort(&mut images);
            *listing = images.into();
        }
        self.uploads.retain(|upload| upload.image.name != image.name);
        self.uploads.push(Upload { image, state: UploadState::Stored, at: now });
    }

    fn cost(&self) -> usize {
        let listed = self.listing.iter().flat_map(|(listing, _)| listing.iter());
        let images = listed.chain(self.uploads.iter().map(|upload| &upload.image));
        OVERHEAD_BYTES + images.map(|image| image.name.as_str().len() + OVERHEAD_BYTES).sum::<usize>()
    }
}

fn sort(images: &mut [ListedImage]) {
    images.sort_unstable_by(|one, other| one.name.cmp(&other.name));
}

/// Whether a listing has an image of this name.
fn contains(listing: &Listing, name: &ImageName) -> bool {
    listing.binary_search_by(|image| image.name.cmp(name)).is_ok()
}

#[cfg(test)]
mod tests;
