//! Pictures of users: checked, stored, listed and streamed.

pub(super) mod check;
mod image_cache;
pub(super) mod store;
pub(super) mod stream;

use std::sync::Arc;

use store::ImageStore;
use stream::ImagesStream;

/// The use cases about pictures.
pub(super) struct Images {
    pub(super) store: Arc<ImageStore>,
    pub(super) stream: ImagesStream,
}
