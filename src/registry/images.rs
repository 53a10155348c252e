//! Images of users: checked, stored, listed and streamed.

mod image_cache;
pub(super) mod image_check;
pub(super) mod image_store;
pub(super) mod images_stream;
pub(super) mod listing_cache;
mod lru_cache;
mod upload_budget;

use std::sync::Arc;

use image_store::ImageStore;
use images_stream::ImagesStream;

/// The components of the registry for images.
pub(super) struct ImageComponents {
    pub(super) store: Arc<ImageStore>,
    pub(super) stream: ImagesStream,
}
